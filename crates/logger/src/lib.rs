//! Structured JSON logs that cannot leak PHI.
//!
//! A [`tracing_subscriber`] layer of our own writes each event as one JSON object on one line.
//! Redaction happens on the thread that logs, before anything is queued, written or sent.
//!
//! ```
//! use std::sync::Arc;
//! use eonpro_core::component::Component as _;
//! use eonpro_core::phi::Phi;
//! use eonpro_core::time::SystemClock;
//! use eonpro_logger::{DailyFile, JsonLogger, LoggerConfig, LoggerParts};
//! use tracing_subscriber::layer::SubscriberExt as _;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let (layer, logger) = JsonLogger::start(
//!     LoggerConfig::default(),
//!     LoggerParts {
//!         clock: Arc::new(SystemClock::new()),
//!         schemas: Vec::new(),
//!         sinks: vec![Box::new(DailyFile::open(dir, "clinic")?)],
//!     },
//! )?;
//! let subscriber = tracing_subscriber::registry().with(layer.filtered());
//! tracing::subscriber::with_default(subscriber, || {
//!     let name = Phi::from("Ada Lovelace");
//!     // `name` alone and `%name` do not compile.
//!     tracing::info!(ward = "b2", who = ?name, "admitted, SSN 999-12-3456");
//! });
//! logger.close().await;
//!
//! let file = std::fs::read_dir(dir)?.next().ok_or("no file")??;
//! let text = std::fs::read_to_string(file.path())?;
//! assert!(text.contains(r#""message":"admitted, [SSN]","fields":{"ward":"b2","who":"[PHI]"}"#));
//! # Ok(())
//! # }
//! ```
//!
//! # A line
//! Reserved keys come first and are written by the logger alone: `time`, `level`, `target`,
//! then `request`, `trace`, `span`, `tenant` and `actor` (its kind) from the request's context
//! ([`eonpro_core::context::with_log_context`]), then `message`. Whatever an event brings along stands in
//! `fields`, what its spans bring in `spans`, so that no field can pose as a reserved key. A name
//! given twice counts once, with its first value. A line beyond its limit is cut, stays valid JSON
//! and says `"truncated":true`.
//!
//! # Redaction, in this order
//! 1. By type: [`Phi`](eonpro_core::phi::Phi) has no `Display` and is no `tracing` value; `?` prints `[PHI]`.
//! 2. By name: fields that a PHI schema declares, a built-in list (`ssn`, `birthDate`, `password`)
//!    and names from the configuration, in any spelling. The value is not even formatted.
//! 3. By content, in the message, every text and every whole number: social security numbers,
//!    phone numbers, dates, card numbers, e-mail addresses, and what follows a keyword such as
//!    `MRN` or `password=`. Shapes count, not checksums. Numbers under names that end in a unit
//!    (`_ns`, `_bytes`) are measures and stay. Our own ids, UUIDs and trace ids, stay.
//!
//! The names of 2. count in text too, such as the JSON or the `Debug` output of a record: before
//! `=` with any value, before `:` with a quoted one, and with flat lists, sets and tuples that
//! begin with a quoted one. Names of FHIR that are ordinary words (`line`, `text`, `display`)
//! count there before quoted values alone.
//!
//! What has no shape is not found: **a person's name in free text is logged as it is.** Neither is
//! found in text: a number or a bare word behind `"name":`, what stands in lists within lists and
//! in objects under names of their own (`"address":{"home":".."}`), FHIR's `value` and its
//! like, XML (`<given value=".."/>`) and the segments of HL7 v2, unless a shape or a keyword tells.
//! A quoted value may be cut by a quote within it that nothing escapes. Put PHI into
//! [`Phi`](eonpro_core::phi::Phi), and it cannot come there.
//!
//! # Loss
//! A caller never waits. Lines beyond the queue's bounds are dropped, counted per level, and a
//! later line says how many are missing. [`LogStats`] accounts for every line.

pub mod backend;
mod config;
mod correlation;
mod error;
pub mod events;
mod field;
mod filter;
mod json;
mod layer;
mod line;
mod logger;
mod redact;
mod service;
mod shared;
mod stats;

pub use backend::{Console, DailyFile, LogLine, LogSink};
pub use config::LoggerConfig;
pub use error::LogError;
pub use filter::LevelRules;
pub use layer::JsonLayer;
pub use logger::{JsonLogger, LoggerParts};
pub use redact::{Redaction, Redactor};
pub use service::Logger;
pub use stats::LogStats;
pub use tracing::level_filters::LevelFilter;
