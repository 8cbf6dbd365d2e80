//! Buckets of what is no number, in a compound.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(
    table = "patients",
    index(name = "who", fields(family: "folded", born: "bucket:10"))
)]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal)]
    family: Phi<String>,
    #[phi(seal)]
    born: Phi<String>,
}

fn main() {}
