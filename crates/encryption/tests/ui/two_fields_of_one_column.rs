//! Two fields of one column: one could stand for the other.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal)]
    mrn: Phi<String>,
    #[phi(seal, column = "mrn")]
    other: Phi<String>,
}

fn main() {}
