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

/// One field of an event type.
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

/// The nearest codes of other standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standards {
    /// DICOM PS3.15 A.5 `EventID` or `EventID/EventTypeCode`.
    pub dicom: &'static str,
    /// OCSF 1.8 `class_uid/activity_id`.
    pub ocsf: &'static str,
    /// The IHE BALP profile after `IHE.BasicAudit.`, or `base`.
    pub fhir: &'static str,
}

/// One type of event.
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
