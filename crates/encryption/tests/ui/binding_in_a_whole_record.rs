//! A field bound to its column in a record that is bound to its row.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients", mode = "whole")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, bind = "column")]
    mrn: Phi<String>,
}

fn main() {}
