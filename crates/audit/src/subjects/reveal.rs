//! Opening an entry for a reader who may know: pseudonyms become patients, sealed fields become text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::event::{EventType, FieldType, catalogue};
use eonpro_core::id::SubjectId;
use eonpro_core::phi::Phi;
use eonpro_core::port::{DataKey, KeyPurpose, SealError};
use uuid::Uuid;

use super::{Pseudonym, SubjectVault};
use crate::commitment::Salted;
use crate::entry::cell;
use crate::error::AuditError;
use crate::log_id::LogId;
use crate::wire::{Entry, EntryValue};

/// What an entry says to somebody who may know.
#[derive(Debug)]
pub struct Revealed {
    /// Who stands behind the entry's pseudonyms. Those that nobody can resolve any more are missing.
    pub subjects: BTreeMap<Pseudonym, SubjectId>,
    /// The sealed fields, by name. Each is what the entry committed to when it was written.
    pub fields: BTreeMap<String, RevealedField>,
}

/// A sealed field, opened or not.
#[derive(Debug)]
pub enum RevealedField {
    /// Its value.
    Open(Phi<String>),
    /// It was sealed for a patient whose record is gone: nobody can open it.
    Erased,
}

/// What the sealed fields of one entry open with.
enum Opener {
    Subject(Arc<dyn DataKey>),
    Scope,
    Gone,
}

impl SubjectVault {
    /// Opens all of `entry`, which stands in `log`.
    pub(crate) async fn reveal(&self, log: &LogId, entry: &Entry) -> Result<Revealed, AuditError> {
        let mut subjects = BTreeMap::new();
        for pseudonym in pseudonyms(entry) {
            if let Some((subject, _)) = self.subject_of(log, &pseudonym).await? {
                subjects.insert(pseudonym, subject);
            }
        }
        if !entry.commit.keys().eq(entry.sealed.keys()) {
            return Err(AuditError::Commitment);
        }
        let opener = self.opener(log, entry).await?;
        let mut fields = BTreeMap::new();
        for name in entry.sealed.keys() {
            let field = match self.open(log, entry, name, &opener).await? {
                Some(salted) => RevealedField::Open(text(&salted)?),
                None => RevealedField::Erased,
            };
            fields.insert(name.clone(), field);
        }
        Ok(Revealed { subjects, fields })
    }

    /// The value of one sealed field with the salt of its commitment.
    pub(crate) async fn open_field(
        &self,
        log: &LogId,
        entry: &Entry,
        name: &str,
    ) -> Result<Salted, AuditError> {
        let opener = self.opener(log, entry).await?;
        let opened = self.open(log, entry, name, &opener).await?;
        opened.ok_or(AuditError::NoField)
    }

    async fn opener(&self, log: &LogId, entry: &Entry) -> Result<Opener, AuditError> {
        let Some(subject) = &entry.subject else {
            return Ok(Opener::Scope);
        };
        let pseudonym = Pseudonym::parse(subject).ok_or(AuditError::NotTheEntry)?;
        Ok(match self.subject_of(log, &pseudonym).await? {
            Some((_, key)) => Opener::Subject(key),
            None => Opener::Gone,
        })
    }

    /// `None` if its patient is gone.
    async fn open(
        &self,
        log: &LogId,
        entry: &Entry,
        name: &str,
        opener: &Opener,
    ) -> Result<Option<Salted>, AuditError> {
        let sealed = entry.sealed.get(name).ok_or(AuditError::NoField)?;
        let kind = catalogue::by_code(&entry.code).ok_or(AuditError::NotTheEntry)?;
        let column = known_name(kind, name).ok_or(AuditError::NotTheEntry)?;
        let id = Uuid::try_parse(&entry.id).map_err(|_| AuditError::NotTheEntry)?;
        let cell = cell(column, id.as_bytes())?;
        let sealed = URL_SAFE_NO_PAD.decode(sealed);
        let sealed = sealed.map_err(|_| SealError::Malformed)?;
        let plaintext = match opener {
            Opener::Gone => return Ok(None),
            Opener::Subject(key) => key.open(&cell, &sealed)?,
            Opener::Scope => {
                let scope = self.scope(log);
                let opening = self.sealer.open(scope, KeyPurpose::AUDIT, &cell, &sealed);
                opening.await?
            }
        };
        let salted = Salted::parse(&plaintext).ok_or(SealError::Malformed)?;
        let commit = entry.commit.get(name).ok_or(AuditError::Commitment)?;
        match salted.fits(name, commit) {
            true => Ok(Some(salted)),
            false => Err(AuditError::Commitment),
        }
    }
}

/// The catalogue's own spelling of a sealed field's name.
fn known_name(kind: &EventType, name: &str) -> Option<&'static str> {
    let mut texts = kind
        .fields
        .iter()
        .filter(|field| field.kind == FieldType::Text);
    texts
        .find(|field| field.name == name)
        .map(|field| field.name)
}

pub(crate) fn text(salted: &Salted) -> Result<Phi<String>, AuditError> {
    let text = std::str::from_utf8(&salted.value).map_err(|_| SealError::Malformed)?;
    Ok(Phi::new(text.to_owned()))
}

/// Everything in an entry that may be a pseudonym.
fn pseudonyms(entry: &Entry) -> BTreeSet<Pseudonym> {
    let mut texts: Vec<&str> = vec![&entry.actor.id];
    texts.extend(entry.subject.as_deref());
    for value in entry.fields.values() {
        match value {
            EntryValue::Text(text) => texts.push(text),
            EntryValue::Texts(many) => texts.extend(many.iter().map(String::as_str)),
            EntryValue::Object(parts) => texts.extend(parts.values().map(String::as_str)),
            EntryValue::Flag(_) | EntryValue::Count(_) => {}
        }
    }
    let parts = texts.into_iter().flat_map(|text| text.split('/'));
    parts.filter_map(Pseudonym::parse).collect()
}
