//! Buckets of what is no number.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, index(normalizer = "bucket:10"))]
    age: Option<Phi<String>>,
}

fn main() {}
