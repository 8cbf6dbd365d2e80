//! One line: one JSON object whose reserved keys only this file writes.
//!
//! Keys of the user stand in objects of their own, `fields` and those within `spans`, so that none
//! can take the place of a reserved one. A line keeps room for its end: whatever is left out, it
//! stays valid JSON, within its limit, and says `"truncated":true`.

use std::fmt::{self, Write as _};

use eonpro_core::time::Timestamp;
use tracing::Level;

use crate::field::{Fields, Value};
use crate::json;

// What closes a line at any place: `}}]}` of a span's fields, and the mark.
const END: &str = "}}],\"truncated\":true}\n";
// A key and its punctuation: `,"":`.
const PUNCTUATION: usize = 4;

/// A line in the making.
#[derive(Debug)]
pub(crate) struct Line {
    out: String,
    limit: usize,
    truncated: bool,
}

impl Line {
    /// Opens a line of at most `limit` bytes.
    pub(crate) fn open(limit: usize, at: Timestamp, level: Level, target: &str) -> Self {
        let mut out = String::with_capacity(256);
        // Writing to a string cannot fail.
        let _ = write!(out, "{{\"time\":\"{at}\",\"level\":\"{level}\"");
        let mut line = Self {
            out,
            limit: limit - END.len(),
            truncated: false,
        };
        line.push_member("target", &Value::Text(target.to_owned()));
        line
    }

    /// Writes a value that needs no redaction and no escape, such as an id.
    pub(crate) fn push_display(&mut self, key: &'static str, value: &dyn fmt::Display) {
        self.push_member(key, &Value::Text(value.to_string()));
    }

    /// Writes the message.
    pub(crate) fn push_message(&mut self, message: &Value) {
        self.push_member("message", message);
    }

    /// Writes `"fields":{..}` unless there are none.
    pub(crate) fn push_fields(&mut self, fields: &Fields) {
        self.truncated |= fields.truncated;
        let opening = if self.out.ends_with('{') {
            "\"fields\":{"
        } else {
            ",\"fields\":{"
        };
        if !fields.list.is_empty() && self.enter(opening) {
            self.push_members(fields);
            self.out.push('}');
        }
    }

    /// Opens `"spans":[`; returns whether there was room.
    pub(crate) fn open_spans(&mut self) -> bool {
        self.enter(",\"spans\":[")
    }

    /// Writes one span of the open list.
    pub(crate) fn push_span(&mut self, name: &str, fields: Option<&Fields>) {
        let before = self.out.len();
        let comma = if self.out.ends_with('[') { "" } else { "," };
        if !self.enter(comma) || !self.enter("{") {
            self.out.truncate(before);
            return;
        }
        self.push_member("name", &Value::Text(name.to_owned()));
        if let Some(fields) = fields {
            self.push_fields(fields);
        }
        self.out.push('}');
    }

    /// Closes the list of spans.
    pub(crate) fn close_spans(&mut self) {
        self.out.push(']');
    }

    /// Says that something was left out.
    pub(crate) fn mark_truncated(&mut self) {
        self.truncated = true;
    }

    /// The whole line with its line break, and whether something was left out.
    pub(crate) fn close(mut self) -> (String, bool) {
        self.out.push_str(if self.truncated {
            ",\"truncated\":true}\n"
        } else {
            "}\n"
        });
        (self.out, self.truncated)
    }

    fn push_members(&mut self, fields: &Fields) {
        for (name, value) in &fields.list {
            self.push_member(name, value);
        }
    }

    /// Writes `"key":value`; cuts a text to the room that is left, leaves out what is no text.
    fn push_member(&mut self, key: &str, value: &Value) {
        let before = self.out.len();
        let comma = if self.out.ends_with('{') { "" } else { "," };
        // Two bytes of the room are for the shortest value, an empty string.
        let Some(room) = self.room().checked_sub(PUNCTUATION + 2) else {
            self.truncated = true;
            return;
        };
        self.out.push_str(comma);
        if !json::push_string(&mut self.out, key, room) {
            return self.leave_out(before);
        }
        self.out.push(':');
        let room = self.room();
        match value {
            Value::Text(text) => {
                let whole = json::push_string(&mut self.out, text, room);
                if !whole && self.out.ends_with(':') {
                    return self.leave_out(before);
                }
                self.truncated |= !whole;
            }
            Value::Label(label) if label.len() + 2 <= room => {
                let _ = write!(self.out, "\"{label}\"");
            }
            Value::Literal(literal) if literal.len() <= room => self.out.push_str(literal),
            Value::Label(_) | Value::Literal(_) => self.leave_out(before),
        }
    }

    fn leave_out(&mut self, before: usize) {
        self.out.truncate(before);
        self.truncated = true;
    }

    fn enter(&mut self, opening: &str) -> bool {
        let fits = opening.len() <= self.room();
        if fits {
            self.out.push_str(opening);
        } else {
            self.truncated = true;
        }
        fits
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.out.len())
    }
}
