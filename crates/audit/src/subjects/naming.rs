//! The patients of one event, and their pseudonyms in place of their ids wherever an entry has text.

use eonpro_core::event::{Event, FieldValue};
use eonpro_core::id::{PublicId, SubjectId};
use std::sync::Arc;
use uuid::Uuid;

use super::Known;

/// Codes spell a patient so: `tenant/<uuid>/subject/<uuid>`.
const IN_CODES: &str = "subject";
/// The text of a UUID, with hyphens.
const UUID_CHARS: usize = 36;

/// The patients that an event names: in fields of type `subject`, in objects of kind `subject`, and in
/// codes with a part `subject/<uuid>`. Each once, in the order of the fields.
pub(super) fn subjects_of(event: &Event) -> Vec<SubjectId> {
    let mut found = Vec::new();
    let mut add = |subject: SubjectId| {
        if !found.contains(&subject) {
            found.push(subject);
        }
    };
    for (_, value) in event.fields() {
        match value {
            FieldValue::Subject(subject) => add(*subject),
            FieldValue::Object(object) if object.kind.as_str() == IN_CODES => {
                add(SubjectId::from_uuid(object.id));
            }
            FieldValue::Code(code) => in_code(code.as_str()).for_each(&mut add),
            FieldValue::Codes(codes) => {
                let codes = codes.iter().flat_map(|code| in_code(code.as_str()));
                codes.for_each(&mut add);
            }
            _ => {}
        }
    }
    found
}

fn in_code(code: &str) -> impl Iterator<Item = SubjectId> {
    let parts = code.split('/').zip(code.split('/').skip(1));
    parts.filter_map(|(kind, id)| {
        let id = (kind == IN_CODES && id.len() == UUID_CHARS).then_some(id)?;
        Uuid::try_parse(id).ok().map(SubjectId::from_uuid)
    })
}

/// The patients of one event under their pseudonyms.
#[derive(Debug, Default)]
pub(crate) struct Naming(Vec<Arc<Known>>);

impl Naming {
    pub(super) fn new(known: Vec<Arc<Known>>) -> Self {
        Self(known)
    }

    /// The one patient, if the event concerns exactly one.
    pub(crate) fn only(&self) -> Option<&Known> {
        match self.0.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// `text` with the patients' pseudonyms where it has their ids, with or without hyphens, in capitals
    /// or not.
    pub(crate) fn of(&self, text: String) -> String {
        self.0.iter().fold(text, |text, known| {
            let (id, name) = (known.subject.uuid(), known.pseudonym.to_string());
            let text = replace(text, &id.hyphenated().to_string(), &name);
            replace(text, &id.simple().to_string(), &name)
        })
    }
}

/// Replaces `old`, which is in lower case, whatever the case in `text`.
fn replace(text: String, old: &str, new: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if !lower.contains(old) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    // Both have the same length up to and with each match.
    for part in lower.split(old) {
        let (kept, tail) = rest.split_at_checked(part.len()).unwrap_or((rest, ""));
        out.push_str(kept);
        let (matched, tail) = tail.split_at_checked(old.len()).unwrap_or(("", tail));
        if !matched.is_empty() {
            out.push_str(new);
        }
        rest = tail;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_core::entropy::SeededEntropy;
    use eonpro_core::event::catalogue::{key, phi};
    use eonpro_core::event::{Code, ObjectRef, Outcome};
    use eonpro_core::id::ActorId;
    use eonpro_core::time::{ManualClock, Timestamp};
    use proptest::prelude::*;

    const ONE: &str = "0190a1b2-0000-4000-8000-00000000000a";
    const TWO: &str = "0190a1b2-0000-4000-8000-00000000000b";

    fn subject(text: &str) -> SubjectId {
        SubjectId::from_uuid(Uuid::try_parse(text).unwrap())
    }

    fn event(data: impl eonpro_core::event::EventData) -> Arc<Event> {
        let clock = ManualClock::at(Timestamp::EPOCH);
        Event::new(data, Outcome::Success, &clock, &SeededEntropy::new(1))
    }

    #[test]
    fn a_patient_is_found_once_in_every_place() {
        let event = event(phi::RecordViewed {
            patient: subject(ONE),
            resource: ObjectRef::new(Code::constant("subject"), subject(ONE)),
            record_source: Code::new(format!("tenant/{ONE}/subject/{TWO}")).unwrap(),
        });
        assert_eq!(subjects_of(&event), [subject(ONE), subject(TWO)]);
    }

    #[test]
    fn a_shred_names_its_patient_in_a_code_only() {
        let event = event(key::Destroyed {
            key_id: Code::new(format!("tenant/{TWO}/subject/00000001")).unwrap(),
            key_version: 1,
            approver: ActorId::anonymous(),
            second_approver: None,
            scope: Code::new(format!("tenant/{TWO}/subject/{ONE}")).unwrap(),
        });
        assert_eq!(subjects_of(&event), [subject(ONE)]);
    }

    #[test]
    fn an_id_is_replaced_in_every_spelling() {
        let upper = ONE.to_uppercase();
        let simple = ONE.replace('-', "");
        for spelled in [ONE, &upper, &simple, &simple.to_uppercase()] {
            let text = format!("A/{spelled}/B:{spelled}");
            let old = match spelled.contains('-') {
                true => ONE,
                false => &simple,
            };
            assert_eq!(replace(text, old, "X"), "A/X/B:X");
        }
    }

    proptest! {
        #[test]
        fn replacing_does_what_the_standard_library_does(text in "[abé]{0,12}", new in "[xy]{0,3}") {
            let expected = text.replace("ab", &new);
            prop_assert_eq!(replace(text, "ab", &new), expected);
        }
    }
}
