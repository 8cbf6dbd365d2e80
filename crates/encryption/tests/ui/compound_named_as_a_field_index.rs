//! A compound whose slots have the name of a field's.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(
    table = "patients",
    index(name = "ssn", fields(family: "folded", born: "year"))
)]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal)]
    family: Phi<String>,
    #[phi(seal)]
    born: Phi<String>,
    #[phi(seal, index)]
    ssn: Phi<String>,
}

fn main() {}
