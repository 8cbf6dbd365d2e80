//! A cardinality that nothing needs.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, cardinality = 10_000_000)]
    mrn: Phi<String>,
}

fn main() {}
