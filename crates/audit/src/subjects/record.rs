//! A patient's record in the key-value store: the only place that links a patient to a pseudonym.
//!
//! Two keys in one partition, always written and deleted together. `subject/of/<token>` holds the record,
//! sealed; `subject/as/<token>` leads from the pseudonym to it. Tokens are HMACs under a key that only the
//! scope's keys yield, so that neither the patient nor the pseudonym can be read off a key's name.

use std::sync::Arc;

use eonpro_core::id::{PublicId, SubjectId};
use eonpro_core::pae;
use eonpro_core::phi::{Cell, Column, Row, Table};
use eonpro_core::port::kv::Key;
use eonpro_core::port::{DataKey, KeyPurpose, KvError, SealError, SealScope, Sealer, WrappedKey};
use eonpro_core::secret::{KeyBytes, SecretBytes};
use ring::hmac;
use uuid::Uuid;

use super::pseudonym::Pseudonym;
use crate::error::AuditError;
use crate::hex;

const TABLE: Table = Table::new("audit-subjects");
const RECORD: Column = Column::new("record");
const KEY: Column = Column::new("key");
const MAC_LABEL: &str = "audit/subjects/v1";
const OF: &str = "subject/of/";
const AS: &str = "subject/as/";
const VERSION: u8 = 1;

/// The name of a record, or of the sign that leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token([u8; 32]);

impl Token {
    /// `None` if it is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Where the record with this token is.
    pub(super) fn record_key(&self) -> Result<Key, KvError> {
        self.key(OF)
    }

    /// Where the sign with this token is.
    pub(super) fn sign_key(&self) -> Result<Key, KvError> {
        self.key(AS)
    }

    fn key(&self, prefix: &str) -> Result<Key, KvError> {
        let mut key = prefix.as_bytes().to_vec();
        hex::push(&mut key, &self.0);
        Key::new(key)
    }
}

/// Computes tokens of one scope.
pub(super) struct Tokens(hmac::Key);

impl Tokens {
    pub(super) async fn of(sealer: &dyn Sealer, scope: SealScope) -> Result<Self, SealError> {
        let key: KeyBytes<32> = sealer.mac_key(scope, MAC_LABEL).await?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose())))
    }

    /// The token of a patient's record.
    pub(super) fn of_subject(&self, subject: SubjectId) -> Token {
        self.token(b"of", subject.uuid().as_bytes())
    }

    /// The token of the sign that a pseudonym leads by.
    pub(super) fn of_pseudonym(&self, pseudonym: &Pseudonym) -> Token {
        self.token(b"as", pseudonym.as_bytes())
    }

    fn token(&self, kind: &[u8], id: &[u8]) -> Token {
        let tag = hmac::sign(&self.0, &pae::encode(&[kind, id]));
        let mut token = [0; 32];
        for (to, from) in token.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Token(token)
    }
}

/// What a record says, unwrapped.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) subject: SubjectId,
    pub(super) pseudonym: Pseudonym,
    pub(super) key: Arc<dyn DataKey>,
}

impl Record {
    /// A record for `subject` with a fresh pseudonym and a fresh key, and its sealed form.
    pub(super) async fn create(
        sealer: &dyn Sealer,
        scope: SealScope,
        subject: SubjectId,
        token: &Token,
    ) -> Result<(Self, Vec<u8>), AuditError> {
        let pseudonym = Pseudonym::random()?;
        let cell = key_cell(&pseudonym)?;
        let (key, wrapped) = sealer.data_key(scope, KeyPurpose::AUDIT, &cell).await?;
        let mut plain = SecretBytes::with_capacity(33 + wrapped.0.len());
        plain.push(VERSION);
        plain.extend_from_slice(subject.uuid().as_bytes());
        plain.extend_from_slice(pseudonym.as_bytes());
        plain.extend_from_slice(&wrapped.0);
        let cell = record_cell(token)?;
        let sealed = sealer.seal(scope, KeyPurpose::AUDIT, &cell, &plain).await?;
        let record = Self {
            subject,
            pseudonym,
            key,
        };
        Ok((record, sealed))
    }

    /// Opens the record at `token`.
    pub(super) async fn open(
        sealer: &dyn Sealer,
        scope: SealScope,
        token: &Token,
        sealed: &[u8],
    ) -> Result<Self, AuditError> {
        let cell = record_cell(token)?;
        let plain = sealer.open(scope, KeyPurpose::AUDIT, &cell, sealed).await?;
        let (subject, pseudonym, wrapped) = parse(&plain).ok_or(SealError::Malformed)?;
        let cell = key_cell(&pseudonym)?;
        let key = sealer
            .unwrap(scope, KeyPurpose::AUDIT, &cell, &wrapped)
            .await?;
        Ok(Self {
            subject,
            pseudonym,
            key,
        })
    }
}

fn parse(plain: &[u8]) -> Option<(SubjectId, Pseudonym, WrappedKey)> {
    let rest = plain.strip_prefix(&[VERSION])?;
    let (subject, rest) = rest.split_first_chunk::<16>()?;
    let (pseudonym, wrapped) = rest.split_first_chunk::<16>()?;
    Some((
        SubjectId::from_uuid(Uuid::from_bytes(*subject)),
        Pseudonym::from_bytes(*pseudonym),
        WrappedKey(wrapped.to_vec()),
    ))
}

fn record_cell(token: &Token) -> Result<Cell<'_>, SealError> {
    let row = Row::named(token.as_bytes()).ok_or(SealError::Malformed)?;
    Ok(Cell::new(TABLE, RECORD, row))
}

fn key_cell(pseudonym: &Pseudonym) -> Result<Cell<'_>, SealError> {
    let row = Row::named(pseudonym.as_bytes()).ok_or(SealError::Malformed)?;
    Ok(Cell::new(TABLE, KEY, row))
}
