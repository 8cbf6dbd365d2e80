//! A deterministic field whose values an observer could count.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, suite = "deterministic", bind = "column", cardinality = 1_048_575)]
    mrn: Phi<String>,
}

fn main() {}
