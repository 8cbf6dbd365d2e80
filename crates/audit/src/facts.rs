//! What a query may ask of an entry, read from its bytes without the rest of it.

use std::borrow::Cow;

use eonpro_core::time::Timestamp;
use serde::Deserialize;

/// See the [module](self).
#[derive(Debug, Deserialize)]
pub(crate) struct Facts<'a> {
    #[serde(borrow)]
    recorded: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) code: Cow<'a, str>,
    pub(crate) outcome: u8,
    #[serde(borrow)]
    pub(crate) actor: Actor<'a>,
    #[serde(borrow)]
    pub(crate) trace: Cow<'a, str>,
    #[serde(borrow, default)]
    fields: Subjects<'a>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Actor<'a> {
    #[serde(borrow)]
    pub(crate) id: Cow<'a, str>,
}

/// The fields that name patients: those of the catalogue's type `subject`.
#[derive(Debug, Default, Deserialize)]
struct Subjects<'a> {
    #[serde(borrow, default)]
    patient: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    retired_patient: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    surviving_patient: Option<Cow<'a, str>>,
}

impl<'a> Facts<'a> {
    /// `None` if the bytes are no entry, such as the leaves of the directory log.
    pub(crate) fn read(leaf: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(leaf).ok()
    }

    /// When the log recorded it.
    pub(crate) fn recorded(&self) -> Option<Timestamp> {
        Timestamp::parse_rfc3339(&self.recorded)
    }

    /// The pseudonyms of the patients that it concerns.
    pub(crate) fn subjects(&self) -> impl Iterator<Item = &Cow<'a, str>> {
        let fields = &self.fields;
        let named = [
            &fields.patient,
            &fields.retired_patient,
            &fields.surviving_patient,
        ];
        named.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_core::event::FieldType;
    use eonpro_core::event::catalogue;

    #[test]
    fn every_subject_of_the_catalogue_is_read() {
        let mut names = std::collections::BTreeSet::new();
        for kind in catalogue::ALL {
            for field in kind.fields {
                if field.kind == FieldType::Subject {
                    assert!(!field.sealed, "{} of {}", field.name, kind.code);
                    names.insert(field.name);
                }
            }
        }
        for name in names {
            let leaf = format!(
                r#"{{"v":1,"recorded":"","code":"","outcome":0,"actor":{{"id":""}},"trace":"",
                    "fields":{{"rows":3,"{name}":"somebody"}}}}"#
            );
            let facts = Facts::read(leaf.as_bytes()).unwrap();
            let subjects: Vec<_> = facts.subjects().collect();
            assert_eq!(subjects, ["somebody"], "{name}");
        }
    }
}
