//! A record that belongs nowhere.

use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(seal)]
    mrn: Phi<String>,
}

fn main() {}
