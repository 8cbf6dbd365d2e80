//! An override that nothing needs: the field is not deterministic.

use eonpro_core::id::RowId;
use eonpro_encryption::{Phi, PhiRecord};

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, suite = "compact", audited_override)]
    mrn: Phi<String>,
}

fn main() {}
