//! A column where the table belongs.

use eonpro_core::entropy::SeededEntropy;
use eonpro_core::id::RowId;
use eonpro_encryption::{Cell, Column, Row, Table};

fn main() {
    let row = Row::id(RowId::random(&SeededEntropy::new(1)));
    let _ = Cell::new(Column::new("name"), Table::new("patients"), row);
}
