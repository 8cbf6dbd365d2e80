//! An override that nothing needs: the column has enough values.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, suite = "deterministic", bind = "column", cardinality = 1_048_576, audited_override)]
    mrn: Phi<String>,
}

fn main() {}
