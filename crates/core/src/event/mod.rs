//! What happened, said once: typed events of one catalogue, and the sink that takes them.
//!
//! A service announces each fact as a struct of [`catalogue`]; a missing field does not compile.
//! [`Emitter`] gives it an id and a time and hands it to the [`EventSink`], which is the facade's
//! hub: audit records it durably (required lane), the others listen (best-effort lane).

pub mod catalogue;
mod sink;
mod spec;
mod value;

pub use crate::digest::Digest;
pub use sink::{EmitError, Emitter, EventSink};
pub use spec::{Ack, Action, EventData, EventType, FieldSpec, FieldType, Severity, Standards};
pub use value::{Code, CodeError, Event, FieldValue, Fields, ObjectRef, Outcome};
