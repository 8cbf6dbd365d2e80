//! A record with a type parameter.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient<T> {
    #[phi(row)]
    id: RowId,
    #[phi(seal)]
    mrn: Phi<String>,
    rest: T,
}

fn main() {}
