//! The signed receipt of a shred: what was destroyed, who wanted it, and until when copies matter.
//!
//! The signature covers canonical JSON (RFC 8785: members sorted, no white space, no numbers but
//! small integers), so a verifier in any language can rebuild the bytes from the parsed receipt.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::event::Code;
use eonpro_core::id::{PublicId as _, SubjectId, TenantId};
use eonpro_core::pae;
use eonpro_core::port::Signer;
use eonpro_core::time::Timestamp;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::facts::{BackupExposure, ShredFacts, ShredTarget};
use super::request::Decision;
use super::wire;
use crate::epoch::EpochId;
use crate::error::CryptoError;

/// The newest version of the receipt's format. A receipt that names no epochs as not ended is of version 1,
/// and the same bytes as ever.
pub const RECEIPT_VERSION: u32 = 2;

const LABEL: &[u8] = b"eonpro/shred-receipt/v1";
const LABEL_2: &[u8] = b"eonpro/shred-receipt/v2";
const ENDED: &str = "ended";
const WHILE_BACKUPS_EXIST: &str = "while-backups-exist";
/// The longest receipt that is read: a tenant with 1,024 keys needs 12 KiB.
const MAX_BYTES: usize = 64 * 1024;

/// The signed receipt of a shred. Holds pseudonyms only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShredReceipt {
    /// The tenant.
    pub tenant: TenantId,
    /// What was shredded.
    pub target: ShredTarget,
    /// The request that was carried out.
    pub request: Uuid,
    /// Why.
    pub reason: Code,
    /// Who requested it, and when.
    pub requested: Decision,
    /// Who approved it, and when.
    pub approvals: Vec<Decision>,
    /// What was done. `backups` is as of `issued`: a later receipt of the same shred may say more.
    pub facts: ShredFacts,
    /// Epochs of a shredded tenant whose keys are not known to be destroyed, as of `issued`: another custody
    /// made them. A backup of the key table opens their patients' keys as long as that custody has them.
    pub epochs_not_ended: Vec<EpochId>,
    /// When this receipt was made.
    pub issued: Timestamp,
    /// The Ed25519 key that signed it. Compare it with one that you trust: [`Self::verify`] does.
    pub signer: [u8; 32],
    /// The signature.
    pub signature: [u8; 64],
}

// Members in the order of RFC 8785.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    approvals: Vec<WireDecision>,
    backups_open_until: String,
    custody: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    epochs_not_ended: Vec<String>,
    exposed_until: String,
    issued: String,
    keys: Vec<String>,
    reason: String,
    request: Uuid,
    requested: WireDecision,
    shredded: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Uuid>,
    tenant: Uuid,
    v: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDecision {
    at: String,
    by: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    receipt: Body,
    signature: String,
    signer: String,
}

#[derive(Deserialize)]
struct VersionFirst {
    receipt: VersionOnly,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

const MALFORMED: CryptoError = CryptoError::Receipt("malformed");

impl ShredReceipt {
    /// Signs the receipt that `self` describes, in place of its signer and signature.
    pub(crate) async fn signed(mut self, signer: &dyn Signer) -> Result<Self, CryptoError> {
        self.signer = signer.public_key();
        self.signature = signer
            .sign(&self.message()?)
            .await
            .map_err(CryptoError::Unsigned)?;
        Ok(self)
    }

    /// Checks that `public_key` signed exactly this.
    ///
    /// # Errors
    /// [`CryptoError::Receipt`] if another key signed it or anything in it was changed.
    pub fn verify(&self, public_key: &[u8; 32]) -> Result<(), CryptoError> {
        if self.signer != *public_key {
            return Err(CryptoError::Receipt("signed by another key"));
        }
        UnparsedPublicKey::new(&ED25519, public_key)
            .verify(&self.message()?, &self.signature)
            .map_err(|_| CryptoError::Receipt("signature does not fit"))
    }

    /// Canonical JSON of the receipt with its signature.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_json(&self) -> Result<String, CryptoError> {
        let signed = Signed {
            receipt: self.body(),
            signature: URL_SAFE_NO_PAD.encode(self.signature),
            signer: URL_SAFE_NO_PAD.encode(self.signer),
        };
        serde_json::to_string(&signed).map_err(|_| MALFORMED)
    }

    /// Reads [`Self::to_json`]. Verifies nothing: call [`Self::verify`].
    ///
    /// # Errors
    /// [`CryptoError::Receipt`] if it is none or longer than 64 KiB; [`CryptoError::Version`] if it
    /// is of another version.
    pub fn from_json(text: &str) -> Result<Self, CryptoError> {
        if text.len() > MAX_BYTES {
            return Err(CryptoError::Receipt("longer than 64 KiB"));
        }
        let first: VersionFirst = serde_json::from_str(text).map_err(|_| MALFORMED)?;
        if !(1..=RECEIPT_VERSION).contains(&first.receipt.v) {
            return Err(CryptoError::Version(first.receipt.v));
        }
        let signed: Signed = serde_json::from_str(text).map_err(|_| MALFORMED)?;
        let body = signed.receipt;
        if body.v != version(&body.epochs_not_ended) {
            return Err(MALFORMED);
        }
        let not_ended = body.epochs_not_ended.iter();
        let not_ended = not_ended.map(|id| wire::epoch_id(id));
        let approvals = body.approvals.iter().map(decision);
        let keys = body.keys.iter().map(|id| wire::key_id(id));
        Ok(Self {
            tenant: TenantId::from_uuid(body.tenant).ok_or(MALFORMED)?,
            target: match body.subject {
                None => ShredTarget::Tenant,
                Some(bits) => ShredTarget::Subject(SubjectId::from_uuid(bits)),
            },
            request: body.request,
            reason: Code::new(body.reason).map_err(|_| MALFORMED)?,
            requested: decision(&body.requested)?,
            approvals: approvals.collect::<Result<_, _>>()?,
            facts: ShredFacts {
                at: instant(&body.shredded)?,
                keys: keys.collect::<Result<_, _>>()?,
                epoch: body.epoch.as_deref().map(wire::epoch_id).transpose()?,
                exposed_until: instant(&body.exposed_until)?,
                backups: match body.backups_open_until.as_str() {
                    ENDED => BackupExposure::Ended,
                    WHILE_BACKUPS_EXIST => BackupExposure::WhileBackupsExist,
                    until => BackupExposure::Until(instant(until)?),
                },
                custody: body.custody,
            },
            epochs_not_ended: not_ended.collect::<Result<_, _>>()?,
            issued: instant(&body.issued)?,
            signer: fixed(&signed.signer)?,
            signature: fixed(&signed.signature)?,
        })
    }

    /// `PAE("eonpro/shred-receipt/v1", canonical JSON of the body)`, with the body's version.
    fn message(&self) -> Result<Vec<u8>, CryptoError> {
        let body = serde_json::to_vec(&self.body()).map_err(|_| MALFORMED)?;
        let label = match version(&self.epochs_not_ended) {
            1 => LABEL,
            _ => LABEL_2,
        };
        Ok(pae::encode(&[label, &body]))
    }

    fn body(&self) -> Body {
        let wire = |decision: &Decision| WireDecision {
            at: decision.at.to_string(),
            by: decision.by.to_string(),
        };
        Body {
            approvals: self.approvals.iter().map(wire).collect(),
            backups_open_until: match self.facts.backups {
                BackupExposure::Ended => ENDED.to_owned(),
                BackupExposure::Until(at) => at.to_string(),
                BackupExposure::WhileBackupsExist => WHILE_BACKUPS_EXIST.to_owned(),
            },
            custody: self.facts.custody.clone(),
            epoch: self.facts.epoch.as_ref().map(ToString::to_string),
            epochs_not_ended: self
                .epochs_not_ended
                .iter()
                .map(ToString::to_string)
                .collect(),
            exposed_until: self.facts.exposed_until.to_string(),
            issued: self.issued.to_string(),
            keys: self.facts.keys.iter().map(ToString::to_string).collect(),
            reason: self.reason.to_string(),
            request: self.request,
            requested: wire(&self.requested),
            shredded: self.facts.at.to_string(),
            subject: self.target.subject().map(SubjectId::uuid),
            tenant: self.tenant.uuid(),
            v: version(&self.epochs_not_ended),
        }
    }
}

/// Readers of version 1 refuse members that they do not know, so only a receipt that has them is newer.
fn version<T>(not_ended: &[T]) -> u32 {
    match not_ended {
        [] => 1,
        _ => RECEIPT_VERSION,
    }
}

fn decision(wire: &WireDecision) -> Result<Decision, CryptoError> {
    Ok(Decision {
        by: wire::actor(&wire.by)?,
        at: instant(&wire.at)?,
    })
}

fn instant(text: &str) -> Result<Timestamp, CryptoError> {
    Timestamp::parse_rfc3339(text).ok_or(MALFORMED)
}

fn fixed<const N: usize>(text: &str) -> Result<[u8; N], CryptoError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| MALFORMED)?;
    bytes.try_into().map_err(|_| MALFORMED)
}
