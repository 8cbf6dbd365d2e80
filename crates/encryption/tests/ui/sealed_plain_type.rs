//! A sealed field whose plaintext can be printed.

use eonpro_core::id::RowId;
use eonpro_encryption::PhiRecord;

#[derive(PhiRecord)]
#[phi(table = "patients")]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal)]
    mrn: String,
}

fn main() {}
