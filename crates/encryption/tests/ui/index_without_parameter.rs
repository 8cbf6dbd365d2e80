//! A rule that lacks its parameter.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, index(normalizer = "e164"))]
    phone: Phi<String>,
}

fn main() {}
