//! The last none of the characters.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, index(normalizer = "last:0"))]
    ssn: Phi<String>,
}

fn main() {}
