//! The fields of one event or span, redacted while they are collected.

use std::error::Error;
use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};

use crate::redact::{OVERHANG, Redactor};

// Beyond, JSON readers that keep numbers as doubles would change the value.
const LARGEST_EXACT: u128 = 1 << 53;
const MESSAGE: &str = "message";

/// A redacted value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Text, not escaped yet.
    Text(String),
    /// A number, `true` or `false`, as JSON.
    Literal(String),
    /// A label in place of the value.
    Label(&'static str),
}

/// Whose fields are collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Its field `message` is the message.
    Event,
    /// It has no message: a field of that name is one like any other.
    Span,
}

/// Redacted fields with unique names.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    /// Only an event has one.
    pub(crate) message: Option<Value>,
    pub(crate) list: Vec<(&'static str, Value)>,
    /// Fields left out: of the same name as one before, or beyond the limit.
    pub(crate) duplicates: u64,
    pub(crate) truncated: bool,
}

impl Fields {
    /// None, although there were some: whatever line shows them says that it is cut.
    pub(crate) fn left_out() -> Self {
        Self {
            truncated: true,
            ..Self::default()
        }
    }

    /// Takes over the fields of a later `record` of the same span: the later value counts.
    pub(crate) fn update(&mut self, later: Self, max_fields: usize) {
        for (name, value) in later.list {
            if let Some((_, old)) = self.list.iter_mut().find(|(known, _)| *known == name) {
                *old = value;
            } else if self.list.len() < max_fields {
                self.list.push((name, value));
            } else {
                self.truncated = true;
            }
        }
        self.truncated |= later.truncated;
    }
}

/// Limits of what is collected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) value_bytes: usize,
    pub(crate) fields: usize,
}

/// Collects and redacts.
pub(crate) struct Collector<'a> {
    redactor: &'a Redactor,
    limits: Limits,
    owner: Owner,
    fields: Fields,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(redactor: &'a Redactor, limits: Limits, owner: Owner) -> Self {
        Self {
            redactor,
            limits,
            owner,
            fields: Fields::default(),
        }
    }

    pub(crate) fn finish(self) -> Fields {
        self.fields
    }

    /// Keeps what `value` makes, unless the name is taken, too many are there, or the name alone
    /// decides; then the value is not even looked at.
    fn keep(&mut self, field: &Field, value: impl FnOnce(&mut Self) -> Value) {
        let name = field.name();
        let is_message = name == MESSAGE && self.owner == Owner::Event;
        let taken = if is_message {
            self.fields.message.is_some()
        } else {
            self.fields.list.iter().any(|(known, _)| *known == name)
        };
        if taken {
            self.fields.duplicates += 1;
            return;
        }
        if !is_message && self.fields.list.len() >= self.limits.fields {
            self.fields.truncated = true;
            return;
        }
        // Every event has a message: its name says nothing about it, even if a schema has the same.
        let judged = if is_message {
            None
        } else {
            self.redactor.field(name)
        };
        let value = match judged {
            Some(kind) => Value::Label(kind.label()),
            None => value(self),
        };
        if is_message {
            self.fields.message = Some(value);
        } else {
            self.fields.list.push((name, value));
        }
    }

    fn text(&mut self, text: &str) -> Value {
        let limit = self.limits.value_bytes;
        self.fields.truncated |= text.len() > limit;
        let seen = text
            .get(..text.floor_char_boundary(limit + OVERHANG))
            .unwrap_or_default();
        Value::Text(self.redactor.scan_within(seen, limit).into_owned())
    }

    fn formatted(&mut self, arguments: fmt::Arguments<'_>) -> Value {
        let mut capped = Capped {
            text: String::new(),
            room: self.limits.value_bytes + OVERHANG,
        };
        // An error means that the room is full: the rest would be cut off anyway.
        let _ = capped.write_fmt(arguments);
        self.text(&capped.text)
    }

    fn number(&self, name: &str, digits: &str, exact: bool) -> Value {
        match self.redactor.number(name, digits) {
            Some(kind) => Value::Label(kind.label()),
            None if exact => Value::Literal(digits.to_owned()),
            None => Value::Text(digits.to_owned()),
        }
    }
}

impl Visit for Collector<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, |this| {
            if !value.is_finite() {
                return Value::Text(value.to_string());
            }
            let text = value.to_string();
            let whole = text.split('.').next().unwrap_or_default();
            match this.redactor.number(field.name(), whole) {
                Some(kind) => Value::Label(kind.label()),
                None => Value::Literal(text),
            }
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record_i128(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record_u128(field, value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        let exact = value.unsigned_abs() <= LARGEST_EXACT;
        self.keep(field, |this| {
            this.number(field.name(), &value.to_string(), exact)
        });
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        let exact = value <= LARGEST_EXACT;
        self.keep(field, |this| {
            this.number(field.name(), &value.to_string(), exact)
        });
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, |_| Value::Literal(value.to_string()));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, |this| this.text(value));
    }

    /// Bytes have no shape that could be judged: only their number is told.
    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.keep(field, |_| Value::Text(format!("[{} bytes]", value.len())));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.keep(field, |this| {
            this.formatted(format_args!("{}", Chain(value)))
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, |this| this.formatted(format_args!("{value:?}")));
    }
}

/// An error with its sources.
struct Chain<'e>(&'e (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// Text that stops its writer when the room is full.
struct Capped {
    text: String,
    room: usize,
}

impl fmt::Write for Capped {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let room = self.room.saturating_sub(self.text.len());
        let fits = more.floor_char_boundary(room);
        self.text.push_str(more.get(..fits).unwrap_or_default());
        if fits == more.len() {
            Ok(())
        } else {
            Err(fmt::Error)
        }
    }
}
