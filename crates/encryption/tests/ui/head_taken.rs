//! A field of the name under which the twin keeps the record's head.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients", mode = "whole")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal)]
    phi_head: Phi<String>,
}

fn main() {}
