//! A record that is no struct.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
enum Patient {
    Known { id: RowId, mrn: Phi<String> },
}

fn main() {}
