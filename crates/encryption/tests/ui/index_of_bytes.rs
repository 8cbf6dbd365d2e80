//! An index over bytes, which have no text.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, index)]
    photo: Phi<Vec<u8>>,
}

fn main() {}
