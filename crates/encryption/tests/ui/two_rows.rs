//! A record of two rows.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(row)]
    visit: RowId,
    #[phi(seal)]
    mrn: Phi<String>,
}

fn main() {}
