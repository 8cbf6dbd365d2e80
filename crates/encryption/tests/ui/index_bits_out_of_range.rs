//! More bits than the MAC has.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, index(bits = 264))]
    ssn: Phi<String>,
}

fn main() {}
