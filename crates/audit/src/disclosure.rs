//! One sealed field of one entry, opened for an outsider who trusts neither us nor a network.
//!
//! A text file: field, salt and value, and below them the [`OfflineProof`] of the entry with the entry's
//! bytes. The entry commits to the field, the log to the entry, the signatures to the log. Nothing else
//! of the entry is opened.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eonpro_core::error::{Classify, ErrorKind};
use eonpro_core::event::{Code, Digest};
use eonpro_core::phi::Phi;
use eonpro_core::secret::{KeyBytes, SecretBytes};
use zeroize::Zeroizing;

use crate::commitment::{SALT_BYTES, Salted};
use crate::merkle::leaf_hash;
use crate::segment::MAX_PAYLOAD;
use crate::tlog::{MAX_EXTRA_BYTES, MAX_NOTE_BYTES, OfflineProof, OfflineProofError, Policy};
use crate::wire::{Entry, Leaf, WireError};

const HEADER: &str = "eonpro/audit/disclosure@v1";
/// No file is longer: value and entry in base64, checkpoint, way, and the lines between.
const MAX_BYTES: usize = MAX_NOTE_BYTES + (MAX_EXTRA_BYTES + MAX_PAYLOAD) / 3 * 4 + 8 * 1024;

/// Why and to whom a field is disclosed, for the record (45 CFR 164.528(b)(2)).
#[derive(Debug, Clone)]
pub struct DisclosureOrder {
    /// Who receives it.
    pub recipient_name: Phi<String>,
    /// The address, if known.
    pub recipient_address: Option<Phi<String>>,
    /// What for.
    pub purpose_statement: Phi<String>,
    /// What permits it.
    pub legal_basis: Code,
}

/// A disclosure file proves nothing.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DisclosureError {
    /// It is no disclosure file, or beyond the limits.
    #[error("disclosure file is malformed")]
    Malformed,
    /// Its entry is not in a log that the policy believes.
    #[error("disclosure file: {0}")]
    Proof(#[from] OfflineProofError),
    /// What the log holds is no entry.
    #[error("disclosure file: {0}")]
    Entry(#[from] WireError),
    /// The entry does not commit to that value of that field.
    #[error("disclosure file: the entry does not commit to this value")]
    Commitment,
}

impl Classify for DisclosureError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Integrity
    }
}

/// One opened field with its proof. **It holds what was sealed**: [`Self::to_file`] is for the recipient
/// only.
#[derive(Debug)]
pub struct Disclosure {
    field: String,
    salted: Salted,
    proof: OfflineProof,
}

/// What a disclosure file proves.
#[derive(Debug)]
pub struct Disclosed {
    /// The origin of the log.
    pub origin: String,
    /// The entry's index in it.
    pub index: u64,
    /// How many entries the log had when its checkpoint was signed.
    pub size: u64,
    /// The entry.
    pub entry: Entry,
    /// The name of the field.
    pub field: String,
    /// What the field said.
    pub value: Phi<String>,
}

impl Disclosure {
    pub(crate) fn new(field: String, salted: Salted, proof: OfflineProof) -> Self {
        Self {
            field,
            salted,
            proof,
        }
    }

    /// The proof of the entry.
    #[must_use]
    pub fn proof(&self) -> &OfflineProof {
        &self.proof
    }

    /// The file. Its name should end in `.disclosure`.
    #[must_use]
    pub fn to_file(&self) -> Phi<String> {
        let salt = Zeroizing::new(STANDARD.encode(self.salted.salt.expose()));
        let value = Zeroizing::new(STANDARD.encode(self.salted.value.as_slice()));
        let (field, proof) = (&self.field, &self.proof);
        Phi::new(format!(
            "{HEADER}\nfield {field}\nsalt {}\nvalue {}\n\n{proof}",
            *salt, *value
        ))
    }

    /// Reads a file, which proves nothing by being well-formed.
    ///
    /// # Errors
    /// [`DisclosureError::Malformed`].
    pub fn parse(file: &str) -> Result<Self, DisclosureError> {
        Self::read(file).ok_or(DisclosureError::Malformed)
    }

    fn read(file: &str) -> Option<Self> {
        if file.len() > MAX_BYTES {
            return None;
        }
        let rest = file.strip_prefix(HEADER)?.strip_prefix("\nfield ")?;
        let (field, rest) = rest.split_once("\nsalt ")?;
        let (salt, rest) = rest.split_once("\nvalue ")?;
        let (value, proof) = rest.split_once("\n\n")?;
        let is_name = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
        if field.is_empty() || field.len() > 64 || !field.bytes().all(is_name) {
            return None;
        }
        let salt = Zeroizing::new(STANDARD.decode(salt).ok()?);
        let salted = Salted {
            salt: KeyBytes::<SALT_BYTES>::copy_from(&salt)?,
            value: SecretBytes::new(STANDARD.decode(value).ok()?),
        };
        let proof = OfflineProof::parse(proof).ok()?;
        Some(Self::new(field.to_owned(), salted, proof))
    }

    /// Checks that a log which `policy` believes holds the entry, and that the entry commits to the value.
    ///
    /// # Errors
    /// [`DisclosureError`], and nothing is proven.
    pub fn verify(&self, policy: &Policy) -> Result<Disclosed, DisclosureError> {
        let bytes = self.proof.extra();
        let trusted = self.proof.verify(&leaf_hash(bytes), policy)?;
        let entry = Leaf::parse(bytes)?.entry()?;
        let commit = entry.commit.get(&self.field);
        let commit = commit.ok_or(DisclosureError::Commitment)?;
        if !self.salted.fits(&self.field, commit) {
            return Err(DisclosureError::Commitment);
        }
        let value = std::str::from_utf8(&self.salted.value);
        let value = value.map_err(|_| DisclosureError::Malformed)?;
        Ok(Disclosed {
            origin: trusted.head.origin().to_owned(),
            index: self.proof.index(),
            size: trusted.head.size(),
            entry,
            field: self.field.clone(),
            value: Phi::new(value.to_owned()),
        })
    }

    /// SHA-256 of the file. The salt in it keeps the value from being guessed.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.to_file().expose().as_bytes())
    }
}

impl fmt::Display for Disclosed {
    /// Where the entry is and which field was disclosed; not what it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            origin,
            index,
            size,
            field,
            ..
        } = self;
        write!(f, "{field} of {origin}#{index}, in a log of {size} entries")
    }
}

/// [`Disclosure::parse`] and [`Disclosure::verify`] in one.
///
/// # Errors
/// [`DisclosureError`], and nothing is proven.
pub fn verify_disclosure(file: &str, policy: &Policy) -> Result<Disclosed, DisclosureError> {
    Disclosure::parse(file)?.verify(policy)
}
