//! The catalogue of audit events as written in `events.toml`, and what makes it a sound one.
//!
//! A code, a wire id and a name mean one event for ever; free text is sealed; every event answers
//! to HIPAA, SOC 2, ISO 27001 and the GDPR by clauses of its own.

use std::collections::BTreeSet;

use serde::Deserialize;

const FORMAT: u32 = 1;
const EVENTS: usize = 100;
/// Every event serves a clause of each of these beyond the baseline.
const ALWAYS: [Framework; 4] = [
    Framework::Hipaa,
    Framework::Soc2,
    Framework::Iso27001,
    Framework::Gdpr,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Catalogue {
    format: u32,
    pub(super) reserved: Vec<String>,
    #[serde(rename = "group")]
    pub(super) groups: Vec<Group>,
    #[serde(rename = "event")]
    pub(super) events: Vec<Event>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) number: u32,
    pub(super) prefix: String,
    pub(super) module: String,
    pub(super) title: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Event {
    pub(super) code: String,
    pub(super) wire_id: u32,
    pub(super) name: String,
    pub(super) says: String,
    pub(super) severity: Severity,
    pub(super) action: Action,
    pub(super) ack: Ack,
    pub(super) fields: Vec<Field>,
    pub(super) standards: Standards,
    pub(super) clauses: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Field {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: FieldType,
    sealed: bool,
    pub(super) required: bool,
    pub(super) says: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Standards {
    pub(super) dicom: String,
    pub(super) ocsf: String,
    pub(super) fhir: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    Info,
    Notice,
    Warning,
    Error,
    Critical,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Create,
    Read,
    Update,
    Delete,
    Execute,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ack {
    FailClosed,
    Spool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FieldType {
    Subject,
    Actor,
    Tenant,
    Object,
    Uuid,
    Code,
    Codes,
    Count,
    Instant,
    Digest,
    Address,
    Flag,
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framework {
    Hipaa,
    Hitech,
    Soc2,
    Iso27001,
    Cfr21,
    Sox,
    Gdpr,
}

impl Framework {
    pub(super) const ALL: [Self; 7] = [
        Self::Hipaa,
        Self::Hitech,
        Self::Soc2,
        Self::Iso27001,
        Self::Cfr21,
        Self::Sox,
        Self::Gdpr,
    ];

    pub(super) const fn letter(self) -> &'static str {
        match self {
            Self::Hipaa => "H",
            Self::Hitech => "T",
            Self::Soc2 => "S",
            Self::Iso27001 => "I",
            Self::Cfr21 => "P",
            Self::Sox => "X",
            Self::Gdpr => "G",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Hipaa => "HIPAA, 45 CFR 164",
            Self::Hitech => "HITECH",
            Self::Soc2 => "SOC 2",
            Self::Iso27001 => "ISO/IEC 27001:2022, Annex A",
            Self::Cfr21 => "21 CFR Part 11",
            Self::Sox => "SOX",
            Self::Gdpr => "GDPR",
        }
    }

    /// The clause's number if `clause` belongs to this framework.
    pub(super) fn number(self, clause: &str) -> Option<&str> {
        clause
            .strip_prefix(self.letter())
            .and_then(|rest| rest.strip_prefix(':'))
            .filter(|number| !number.is_empty())
    }
}

impl Catalogue {
    /// Reads and checks a catalogue.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let catalogue: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        catalogue.check()?;
        Ok(catalogue)
    }

    /// The events of `group`, in order.
    pub(super) fn events_of(&self, group: &Group) -> impl Iterator<Item = &Event> {
        self.events
            .iter()
            .filter(move |event| event.wire_id / 1000 == group.number)
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("format {} is unknown", self.format));
        }
        distinct("group number", self.groups.iter().map(|group| group.number))?;
        distinct("prefix", self.groups.iter().map(|group| &group.prefix))?;
        distinct("module", self.groups.iter().map(|group| &group.module))?;
        distinct("reserved code", &self.reserved)?;
        distinct("code", self.events.iter().map(|event| &event.code))?;
        distinct("wire id", self.events.iter().map(|event| event.wire_id))?;
        distinct("name", self.events.iter().map(|event| &event.name))?;
        if self.events.len() != EVENTS {
            return Err(format!("{} events, not {EVENTS}", self.events.len()));
        }
        if !self.events.is_sorted_by_key(|event| event.wire_id) {
            return Err("events are not in the order of their wire ids".to_owned());
        }
        self.events.iter().try_for_each(|event| {
            self.check_event(event)
                .map_err(|error| format!("{}: {error}", event.code))
        })?;
        self.groups.iter().try_for_each(|group| {
            let structs = self.events_of(group).map(|event| event.struct_name(group));
            distinct("struct", structs).map_err(|error| format!("{}: {error}", group.module))
        })
    }

    fn check_event(&self, event: &Event) -> Result<(), String> {
        if self.reserved.contains(&event.code) {
            return Err("the code is reserved".to_owned());
        }
        let group = self
            .groups
            .iter()
            .find(|group| group.number == event.wire_id / 1000)
            .ok_or("the wire id belongs to no group")?;
        if event.code != format!("{}-{:03}", group.prefix, event.wire_id % 1000) {
            return Err(format!(
                "the wire id {} belongs to another code",
                event.wire_id
            ));
        }
        if !event.name.contains('.') || !event.name.split('.').all(is_noun) {
            return Err(format!("{} is no dotted name", event.name));
        }
        if group.module == "key" && event.fields.iter().any(|field| field.sealed) {
            // Sealing needs a key: audit and encryption would wait for each other.
            return Err("a key event has a sealed field".to_owned());
        }
        check_prose(&event.says)?;
        distinct("field", event.fields.iter().map(|field| &field.name))?;
        event.fields.iter().try_for_each(check_field)?;
        check_clauses(&event.clauses)
    }
}

impl Event {
    /// `auth.login.succeeded` is `LoginSucceeded` in the module `auth`; a name that begins with
    /// another word than its module keeps the word.
    pub(super) fn struct_name(&self, group: &Group) -> String {
        let own = self
            .name
            .strip_prefix(&group.module)
            .and_then(|rest| rest.strip_prefix('.'))
            .unwrap_or(&self.name);
        own.split(['.', '_']).map(capitalized).collect()
    }
}

fn check_field(field: &Field) -> Result<(), String> {
    let name = &field.name;
    if !is_noun(name) || is_keyword(name) {
        return Err(format!("{name} is no field name"));
    }
    match (field.kind == FieldType::Text, field.sealed) {
        (true, false) => return Err(format!("{name} is text and not sealed")),
        (false, true) => return Err(format!("{name} is sealed and not text")),
        _ => {}
    }
    check_prose(&field.says)
}

fn check_clauses(clauses: &[String]) -> Result<(), String> {
    distinct("clause", clauses)?;
    for clause in clauses {
        if !Framework::ALL.iter().any(|f| f.number(clause).is_some()) {
            return Err(format!("{clause} is of no known framework"));
        }
    }
    for framework in ALWAYS {
        if !clauses.iter().any(|c| framework.number(c).is_some()) {
            return Err(format!("no {framework:?} clause"));
        }
    }
    Ok(())
}

/// One sentence that fits into a doc comment and into a table cell.
fn check_prose(says: &str) -> Result<(), String> {
    if says.ends_with('.') && !says.contains(['|', '\n']) {
        return Ok(());
    }
    Err(format!("`{says}` is no sentence"))
}

fn distinct<T: Ord + ToString>(
    what: &str,
    values: impl IntoIterator<Item = T>,
) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for value in values {
        let text = value.to_string();
        if !seen.insert(value) {
            return Err(format!("{what} {text} twice"));
        }
    }
    Ok(())
}

fn is_noun(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && !text.ends_with('_')
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

fn is_keyword(name: &str) -> bool {
    matches!(
        name,
        "type" | "ref" | "use" | "match" | "move" | "where" | "for" | "in" | "as" | "self" | "mod"
    )
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(letters)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = include_str!("../../../core/events.toml");

    #[test]
    fn the_catalogue_is_sound() {
        let catalogue = Catalogue::parse(SOUND).unwrap();
        assert_eq!(catalogue.reserved.len(), 11);
        assert_eq!(catalogue.groups.len(), 15);
    }

    #[test]
    fn a_broken_catalogue_is_refused_for_what_is_broken() {
        let mutations = [
            ("format = 1", "format = 2", "format 2 is unknown"),
            (
                "\"AUTH-012\",",
                "\"AUTH-011\",",
                "AUTH-011: the code is reserved",
            ),
            (
                "\"AUTH-012\",",
                "\"IAM-010\",",
                "reserved code IAM-010 twice",
            ),
            ("number = 2\n", "number = 1\n", "group number 1 twice"),
            ("\"iam\"", "\"phi\"", "module phi twice"),
            ("\"AUTH-002\"", "\"AUTH-001\"", "code AUTH-001 twice"),
            ("wire_id = 1002", "wire_id = 1001", "wire id 1001 twice"),
            (
                "wire_id = 1011",
                "wire_id = 1099",
                "AUTH-011: the wire id 1099 belongs",
            ),
            ("wire_id = 15002", "wire_id = 16002", "belongs to no group"),
            ("wire_id = 1002", "wire_id = 1500", "not in the order"),
            (
                "\"auth.logout\"",
                "\"auth.login.failed\"",
                "name auth.login.failed twice",
            ),
            (
                "\"auth.logout\"",
                "\"auth.Logout\"",
                "auth.Logout is no dotted name",
            ),
            ("\"auth.logout\"", "\"logout\"", "logout is no dotted name"),
            (
                "\"auth.logout\"",
                "\"auth.login_failed\"",
                "auth: struct LoginFailed twice",
            ),
            (
                "severity = \"info\"",
                "severity = \"fatal\"",
                "unknown variant `fatal`",
            ),
            (
                "action = \"execute\"",
                "action = \"do\"",
                "unknown variant `do`",
            ),
            (
                "ack = \"spool\"",
                "ack = \"drop\"",
                "unknown variant `drop`",
            ),
            ("ack = \"spool\"\n", "", "missing field `ack`"),
            (
                "ack = \"spool\"\n",
                "ack = \"spool\"\nnote = 1\n",
                "unknown field `note`",
            ),
            (
                "type = \"digest\"",
                "type = \"blob\"",
                "unknown variant `blob`",
            ),
            (
                "type = \"text\", sealed = true",
                "type = \"text\", sealed = false",
                "is text and not sealed",
            ),
            (
                "type = \"uuid\", sealed = false",
                "type = \"uuid\", sealed = true",
                "is sealed and not text",
            ),
            (
                "name = \"key_id\", type = \"code\", sealed = false",
                "name = \"key_id\", type = \"text\", sealed = true",
                "KEY-001: a key event has a sealed field",
            ),
            (
                "name = \"amr\"",
                "name = \"acr\"",
                "AUTH-001: field acr twice",
            ),
            ("name = \"amr\"", "name = \"type\"", "type is no field name"),
            ("name = \"amr\"", "name = \"AMR\"", "AMR is no field name"),
            ("was let in.\"", "was let in\"", "is no sentence"),
            (
                "\"H:312(a)(2)(i)\"",
                "\"Q:1\"",
                "Q:1 is of no known framework",
            ),
            (
                "\"H:312(a)(2)(i)\"",
                "\"H:312(d)\"",
                "clause H:312(d) twice",
            ),
            (
                "[\"H:312(a)(2)(i)\", \"S",
                "[\"S",
                "AUTH-003: no Hipaa clause",
            ),
            ("\"S:CC6.1\", ", "", "AUTH-001: no Soc2 clause"),
            ("\"I:A.8.5\", ", "", "AUTH-001: no Iso27001 clause"),
            (", \"G:32(1)(b)\"]", "]", "AUTH-001: no Gdpr clause"),
        ];
        for (from, to, reason) in mutations {
            let broken = SOUND.replacen(from, to, 1);
            assert_ne!(broken, SOUND, "{from} is not in the catalogue");
            let error = Catalogue::parse(&broken).err().unwrap_or_default();
            assert!(error.contains(reason), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn a_catalogue_without_one_of_its_events_is_refused() {
        let (before, last) = SOUND.rsplit_once("[[event]]").unwrap();
        assert!(last.contains("COMP-002"));
        let error = Catalogue::parse(before).err().unwrap();
        assert_eq!(error, "99 events, not 100");
    }

    #[test]
    fn a_struct_drops_the_word_that_its_module_says() {
        let catalogue = Catalogue::parse(SOUND).unwrap();
        let names: Vec<String> = catalogue
            .groups
            .iter()
            .flat_map(|group| {
                let events = catalogue.events_of(group);
                events.map(move |event| format!("{}::{}", group.module, event.struct_name(group)))
            })
            .collect();
        for name in [
            "auth::LoginSucceeded",
            "authz::BreakGlassStarted",
            "disclosure::Made",
            "disclosure::ConsentGranted",
            "disclosure::RightsRequestReceived",
            "esig::RecordVersionCreated",
            "tenant::IsolationViolationBlocked",
            "key::CryptoDecryptFailed",
            "file::PresignedUrlIssued",
        ] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }
}
