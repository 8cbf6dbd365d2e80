//! A mode that does not exist.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients", mode = "file")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal)]
    mrn: Phi<String>,
}

fn main() {}
