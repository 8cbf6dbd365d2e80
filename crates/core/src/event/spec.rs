//! What the catalogue says about one type of event.

use super::value::Fields;

/// How bad it is. Alerts begin at [`Severity::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Everyday business.
    Info,
    /// Worth noticing in a review.
    Notice,
    /// Worth a look.
    Warning,
    /// Something failed.
    Error,
    /// Somebody must look now.
    Critical,
}

impl Severity {
    /// A stable name for entries and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// What kind of action it was (FHIR `AuditEvent.action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// C: create.
    Create,
    /// R: read.
    Read,
    /// U: update.
    Update,
    /// D: delete.
    Delete,
    /// E: execute; queries too (IHE BALP).
    Execute,
}

impl Action {
    /// The one-letter code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Create => "C",
            Self::Read => "R",
            Self::Update => "U",
            Self::Delete => "D",
            Self::Execute => "E",
        }
    }
}

/// What happens to the caller's operation if the log cannot take the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ack {
    /// F: the operation fails.
    FailClosed,
    /// D: the entry goes to the durable spool and the operation goes on.
    Spool,
}

/// The closed list of field types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// A patient's pseudonym.
    Subject,
    /// An actor.
    Actor,
    /// A tenant.
    Tenant,
    /// A thing: kind, id, version.
    Object,
    /// An opaque id.
    Uuid,
    /// A token.
    Code,
    /// Several tokens.
    Codes,
    /// A number.
    Count,
    /// An instant.
    Instant,
    /// 32 bytes of SHA-256.
    Digest,
    /// A network address.
    Address,
    /// Yes or no.
    Flag,
    /// Free text; always sealed.
    Text,
}

impl FieldType {
    /// Its name in `events.toml` and in the entries' schema.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Actor => "actor",
            Self::Tenant => "tenant",
            Self::Object => "object",
            Self::Uuid => "uuid",
            Self::Code => "code",
            Self::Codes => "codes",
            Self::Count => "count",
            Self::Instant => "instant",
            Self::Digest => "digest",
            Self::Address => "address",
            Self::Flag => "flag",
            Self::Text => "text",
        }
    }
}

/// One field of an event type.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpec {
    /// Its name in the entry.
    pub name: &'static str,
    /// Its type.
    pub kind: FieldType,
    /// Whether it is sealed before it is written.
    pub sealed: bool,
    /// Whether it must be present.
    pub required: bool,
}

impl FieldSpec {
    pub(super) const fn required(name: &'static str, kind: FieldType) -> Self {
        Self {
            name,
            kind,
            sealed: matches!(kind, FieldType::Text),
            required: true,
        }
    }

    pub(super) const fn optional(name: &'static str, kind: FieldType) -> Self {
        let mut spec = Self::required(name, kind);
        spec.required = false;
        spec
    }
}

/// The nearest codes of other standards.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standards {
    /// DICOM PS3.15 A.5 `EventID` or `EventID/EventTypeCode`.
    pub dicom: &'static str,
    /// OCSF 1.8 `class_uid/activity_id`.
    pub ocsf: &'static str,
    /// The IHE BALP profile after `IHE.BasicAudit.`, or `base`.
    pub fhir: &'static str,
}

impl Standards {
    pub(super) const fn new(dicom: &'static str, ocsf: &'static str, fhir: &'static str) -> Self {
        Self { dicom, ocsf, fhir }
    }
}

/// One type of event. Only the catalogue makes them.
#[non_exhaustive]
#[derive(Debug, PartialEq, Eq)]
pub struct EventType {
    /// Stable for ever, such as `PHI-001`.
    pub code: &'static str,
    /// The numeric form: group times 1000 plus number.
    pub wire_id: u32,
    /// The dotted name, such as `phi.record.viewed`.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What kind of action it is.
    pub action: Action,
    /// What happens if the log cannot take it.
    pub ack: Ack,
    /// Its fields.
    pub fields: &'static [FieldSpec],
    /// The nearest codes of other standards.
    pub standards: Standards,
    /// The clauses it serves beyond the baseline, such as `H:312(d)`.
    pub clauses: &'static [&'static str],
}

/// A typed event: a struct of the catalogue.
pub trait EventData: Send + 'static {
    /// Its type.
    const TYPE: &'static EventType;

    /// Hands its fields over.
    fn into_fields(self, out: &mut Fields);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::event::catalogue::{self, authz, phi};
    use crate::event::{Event, Outcome};
    use crate::id::SubjectId;
    use crate::phi::Phi;
    use crate::time::{ManualClock, Timestamp};
    use std::sync::Arc;
    use uuid::Uuid;

    fn event(data: impl EventData) -> Arc<Event> {
        let clock = ManualClock::at(Timestamp::EPOCH);
        Event::new(data, Outcome::Success, &clock, &SeededEntropy::new(1))
    }

    fn clear(event: &Event) -> Vec<&'static str> {
        event.fields().iter().map(|(name, _)| *name).collect()
    }

    #[test]
    fn every_type_is_found_by_its_code_its_name_and_its_wire_id() {
        assert_eq!(catalogue::ALL.len(), 100);
        for kind in catalogue::ALL {
            assert_eq!(catalogue::by_code(kind.code), Some(*kind));
            assert_eq!(catalogue::by_name(kind.name), Some(*kind));
            assert_eq!(catalogue::by_wire_id(kind.wire_id), Some(*kind));
        }
        assert_eq!(catalogue::by_code("AUTH-012"), None);
        assert_eq!(catalogue::by_name("auth.step_up.completed"), None);
        assert_eq!(catalogue::by_wire_id(1012), None);
    }

    #[test]
    fn free_text_and_nothing_else_is_declared_as_sealed() {
        for field in catalogue::ALL.iter().flat_map(|kind| kind.fields) {
            assert_eq!(field.sealed, field.kind == FieldType::Text, "{field:?}");
        }
    }

    #[test]
    fn free_text_is_handed_over_to_be_sealed() {
        let started = event(authz::BreakGlassStarted {
            grant: Uuid::nil(),
            patient: SubjectId::random(&SeededEntropy::new(2)),
            justification: Phi::from("unconscious, no relatives"),
            expires_at: Timestamp::EPOCH,
        });
        assert_eq!(clear(&started), ["grant", "patient", "expires_at"]);
        let [(name, text)] = started.sealed_fields() else {
            panic!("one sealed field");
        };
        assert_eq!(*name, "justification");
        assert_eq!(text.expose(), "unconscious, no relatives");
    }

    #[test]
    fn an_absent_field_is_not_written() {
        let search = |patient| {
            event(phi::RecordSearched {
                query: Phi::from("name=ada"),
                patient,
                count: 1,
            })
        };
        let patient = SubjectId::random(&SeededEntropy::new(2));
        assert_eq!(clear(&search(None)), ["count"]);
        assert_eq!(clear(&search(Some(patient))), ["patient", "count"]);
        assert_eq!(search(Some(patient)).subject(), Some(patient));
    }
}
