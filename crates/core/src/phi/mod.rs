//! Protected health information as types.
//!
//! [`Phi`] keeps a value from being printed, logged or serialized. A [`Cell`] says where a sealed
//! value belongs, so that it opens nowhere else. [`PhiRecord`], derived by `#[derive(PhiRecord)]`,
//! ties a record to its sealed twin; its [`PhiSchema`] drives sealing, search, the logger's policy
//! and the PHI data map.

mod cell;
mod index;
mod normalizer;
mod record;
mod schema;
mod sealed;
mod sealing;
mod value;

pub use cell::{Cell, Column, Row, Table};
pub use index::{IndexDef, IndexPart, IndexSlots, IndexToken};
pub use normalizer::Normalizer;
pub use record::{FieldOpener, FieldSealer, PhiRecord, PhiRecords, RecordOpener, RecordSealer};
pub use schema::{PhiField, PhiSchema};
pub use sealed::{RecordHead, Sealed, WholeRecord};
pub use sealing::{Binding, FieldSealing, RecordMode, Suite};
pub use value::{Phi, PhiValue, PhiValueError, SearchText};
