//! A compound of one field.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(
    table = "patients",
    index(name = "who", fields(family: "folded"))
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
