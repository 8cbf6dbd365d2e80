//! A rule that does not exist.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, index(normalizer = "soundex"))]
    family: Phi<String>,
}

fn main() {}
