//! Two indexes of one field with one name.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, index(name = "ssn"), index(name = "ssn", normalizer = "last:4"))]
    ssn: Phi<String>,
}

fn main() {}
