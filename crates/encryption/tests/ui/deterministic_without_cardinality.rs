//! A deterministic field that does not say how many values it has.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, suite = "deterministic", bind = "column")]
    mrn: Phi<String>,
}

fn main() {}
