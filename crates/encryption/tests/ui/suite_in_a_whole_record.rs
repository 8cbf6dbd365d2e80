//! A field with a suite of its own in a record that is one message.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients", mode = "whole")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, suite = "compact")]
    mrn: Phi<String>,
}

fn main() {}
