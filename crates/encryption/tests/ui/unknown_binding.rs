//! A binding that does not exist.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, bind = "table")]
    mrn: Phi<String>,
}

fn main() {}
