//! A deterministic field that says nothing of its binding, which is then its row.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, suite = "deterministic", cardinality = 10_000_000)]
    mrn: Phi<String>,
}

fn main() {}
