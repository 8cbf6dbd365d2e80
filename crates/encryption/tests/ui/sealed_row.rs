//! A row that is sealed itself.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row, seal)]
    id: RowId,
    #[phi(seal)]
    mrn: Phi<String>,
}

fn main() {}
