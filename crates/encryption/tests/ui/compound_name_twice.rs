//! Two compounds with one name.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(
    table = "patients",
    index(name = "who", fields(family: "folded", born: "year")),
    index(name = "who", fields(family: "folded", born: "month_day"))
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
