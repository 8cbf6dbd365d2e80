//! A field that says how it is sealed, and is not.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(suite = "compact")]
    mrn: Phi<String>,
}

fn main() {}
