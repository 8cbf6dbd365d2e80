//! The values an event may carry. None of them can hold PHI in clear.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

use super::spec::{EventData, EventType};
use crate::digest::Digest;
use crate::entropy::Entropy;
use crate::error::{Classify, ErrorKind};
use crate::id::{ActorId, EventId, PublicId, SubjectId, TenantId};
use crate::phi::Phi;
use crate::time::{Clock, Timestamp};

/// A short machine-readable token, such as a reason or a category: never free text, never PHI.
///
/// 1 to 128 characters of `A-Z a-z 0-9 . _ : / + -`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(std::borrow::Cow<'static, str>);

/// The text is not a [`Code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a code: 1 to 128 characters of A-Z a-z 0-9 . _ : / + -")]
pub struct CodeError;

impl Classify for CodeError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

impl Code {
    /// A code written in the source.
    ///
    /// # Panics
    /// While compiling, if used in a constant and `text` is no code; at run time otherwise.
    #[must_use]
    pub const fn constant(text: &'static str) -> Self {
        assert!(Self::fits(text.as_bytes()), "not a code");
        Self(std::borrow::Cow::Borrowed(text))
    }

    /// Checks and takes `text`.
    ///
    /// # Errors
    /// [`CodeError`] outside of the alphabet or length.
    pub fn new(text: impl Into<String>) -> Result<Self, CodeError> {
        let text = text.into();
        if Self::fits(text.as_bytes()) {
            Ok(Self(std::borrow::Cow::Owned(text)))
        } else {
            Err(CodeError)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    const fn fits(text: &[u8]) -> bool {
        let mut rest = text;
        while let [first, tail @ ..] = rest {
            if !first.is_ascii_alphanumeric()
                && !matches!(first, b'.' | b'_' | b':' | b'/' | b'+' | b'-')
            {
                return false;
            }
            rest = tail;
        }
        !text.is_empty() && text.len() <= 128
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The thing an event is about: its kind, its opaque id and, where it has one, its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// The kind of thing, such as `patient` or `document`.
    pub kind: Code,
    /// Its random id.
    pub id: Uuid,
    /// Its version, if it has versions.
    pub version: Option<Uuid>,
}

impl ObjectRef {
    /// A thing without versions.
    #[must_use]
    pub fn new(kind: Code, id: impl PublicId) -> Self {
        Self {
            kind,
            id: id.uuid(),
            version: None,
        }
    }
}

/// How it ended: the outcome codes of DICOM PS3.15 A.5 and FHIR R4 `AuditEvent.outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Outcome {
    /// 0: success.
    #[default]
    Success,
    /// 4: minor failure, such as a refusal by policy.
    Minor,
    /// 8: serious failure.
    Serious,
    /// 12: major failure; the system is no longer usable for this.
    Major,
}

impl Outcome {
    /// The numeric code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Minor => 4,
            Self::Serious => 8,
            Self::Major => 12,
        }
    }
}

/// One clear value of an event. The list is closed on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldValue {
    /// A patient's pseudonym.
    Subject(SubjectId),
    /// An actor other than the one who acts.
    Actor(ActorId),
    /// A tenant other than the context's.
    Tenant(TenantId),
    /// A thing.
    Object(ObjectRef),
    /// An opaque id.
    Uuid(Uuid),
    /// A token.
    Code(Code),
    /// Several tokens.
    Codes(Vec<Code>),
    /// A number.
    Count(u64),
    /// An instant.
    Instant(Timestamp),
    /// A digest of something that is no low-entropy identifier.
    Digest(Digest),
    /// A network address.
    Address(IpAddr),
    /// Yes or no.
    Flag(bool),
}

/// The fields of one event, as a typed event writes them.
#[derive(Debug, Default)]
pub struct Fields {
    clear: Vec<(&'static str, FieldValue)>,
    sealed: Vec<(&'static str, Phi<String>)>,
}

impl Fields {
    /// Adds a clear field.
    pub fn put(&mut self, name: &'static str, value: FieldValue) {
        self.clear.push((name, value));
    }

    /// Adds a field that must be sealed before it is written anywhere.
    pub fn seal(&mut self, name: &'static str, value: Phi<String>) {
        self.sealed.push((name, value));
    }
}

/// One fact: a typed event with its id and its time. Made by [`Event::new`] from a struct of the
/// catalogue only.
#[derive(Debug)]
pub struct Event {
    id: EventId,
    kind: &'static EventType,
    occurred: Timestamp,
    outcome: Outcome,
    fields: Fields,
}

impl Event {
    /// Gives `data` a fresh id and the present time.
    #[must_use]
    pub fn new<E: EventData>(
        data: E,
        outcome: Outcome,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Arc<Self> {
        let mut fields = Fields::default();
        data.into_fields(&mut fields);
        Arc::new(Self {
            id: EventId::fresh(clock, entropy),
            kind: E::TYPE,
            occurred: clock.wall(),
            outcome,
            fields,
        })
    }

    /// Its id: the idempotency key of its entry.
    #[must_use]
    pub fn id(&self) -> EventId {
        self.id
    }

    /// Its type in the catalogue.
    #[must_use]
    pub fn kind(&self) -> &'static EventType {
        self.kind
    }

    /// When it happened.
    #[must_use]
    pub fn occurred(&self) -> Timestamp {
        self.occurred
    }

    /// How it ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The clear fields, in the order of the catalogue.
    #[must_use]
    pub fn fields(&self) -> &[(&'static str, FieldValue)] {
        &self.fields.clear
    }

    /// The fields to be sealed, in the order of the catalogue.
    #[must_use]
    pub fn sealed_fields(&self) -> &[(&'static str, Phi<String>)] {
        &self.fields.sealed
    }

    /// The patient it is about: the first subject among its fields.
    #[must_use]
    pub fn subject(&self) -> Option<SubjectId> {
        self.fields.clear.iter().find_map(|(_, value)| match value {
            FieldValue::Subject(subject) => Some(*subject),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_holds_tokens_and_no_text() {
        assert!(Code::new("login.failed:bad-password").is_ok());
        for bad in ["", "John Smith", "a\"b", "ä", "a\n", &"x".repeat(129)] {
            assert_eq!(Code::new(bad), Err(CodeError), "{bad:?}");
        }
        const WRITTEN: Code = Code::constant("quarantine");
        assert_eq!(WRITTEN.as_str(), "quarantine");
    }
}
