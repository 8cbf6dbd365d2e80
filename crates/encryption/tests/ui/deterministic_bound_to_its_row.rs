//! A deterministic field bound to its row: no two rows would ever be equal.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, suite = "deterministic", bind = "row", cardinality = 10_000_000)]
    mrn: Phi<String>,
}

fn main() {}
