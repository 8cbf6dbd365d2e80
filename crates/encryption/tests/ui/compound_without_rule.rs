//! A compound that does not say how to normalize.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients", index(name = "who", fields(family, born)))]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal)]
    family: Phi<String>,
    #[phi(seal)]
    born: Phi<String>,
}

fn main() {}
