//! Padding beyond what is allowed.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, pad = 4097)]
    mrn: Phi<String>,
}

fn main() {}
