//! A compound over a field that does not exist.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(
    table = "patients",
    index(name = "who", fields(family: "folded", birth_date: "year"))
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
