//! A compound over a field that is stored in clear.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(
    table = "patients",
    index(name = "who", fields(family: "folded", ward: "exact"))
)]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal)]
    family: Phi<String>,
    #[phi(seal)]
    born: Phi<String>,
    ward: u32,
}

fn main() {}
