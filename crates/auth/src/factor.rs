//! Second factors on record: the sealed secret, and the last step whose code was accepted.

use eonpro_core::TenantScope;
use eonpro_core::id::ActorId;
use eonpro_core::phi::{Cell, Row};
use eonpro_core::phi::{Column, Table};
use eonpro_core::port::kv::{Transaction, Version};
use eonpro_core::port::{KeyPurpose, SealScope, Sealer};
use eonpro_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::AuthError;
use crate::state::{MAX_ATTEMPTS, State, Wire, actor_digest, actor_key, encode, unchanged};
use crate::token::{decode_base64url, encode_base64url};
use crate::totp::TotpSecret;

const KIND: &str = "totp";
const TABLE: Table = Table::new("auth");
const COLUMN: Column = Column::new("totp");

/// A TOTP factor on record.
#[derive(Debug, Clone)]
pub(crate) struct TotpFactor {
    sealed: Vec<u8>,
    confirmed: bool,
    last_step: Option<u64>,
}

impl TotpFactor {
    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed
    }
}

/// Format version 1.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TotpWire {
    sealed: String,
    confirmed: bool,
    last_step: Option<u64>,
}

impl Wire for TotpFactor {
    type Form = TotpWire;
    const VERSION: u8 = 1;

    fn to_form(&self) -> TotpWire {
        TotpWire {
            sealed: encode_base64url(&self.sealed),
            confirmed: self.confirmed,
            last_step: self.last_step,
        }
    }

    fn from_form(form: TotpWire) -> Option<Self> {
        Some(Self {
            sealed: decode_base64url(&form.sealed)?,
            confirmed: form.confirmed,
            last_step: form.last_step,
        })
    }
}

/// What became of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodeVerdict {
    /// Right, and used up from now on.
    Accepted,
    /// Wrong for every step of the window.
    Wrong,
    /// Right once, but it or a later one was used already.
    Replayed,
}

/// What an accepted code does to the factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnAccept {
    /// Nothing more.
    Keep,
    /// Confirms it.
    Confirm,
    /// Removes it.
    Remove,
}

/// The factors of a tenant's actors.
#[derive(Debug, Clone)]
pub(crate) struct Factors {
    state: State,
    sealer: std::sync::Arc<dyn Sealer>,
}

impl Factors {
    pub(crate) fn new(state: State, sealer: std::sync::Arc<dyn Sealer>) -> Self {
        Self { state, sealer }
    }

    pub(crate) async fn load(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
    ) -> Result<Option<(TotpFactor, Version)>, AuthError> {
        self.state
            .load(scope.tenant(), &actor_key(KIND, actor)?)
            .await
    }

    /// Puts `secret` on record, unconfirmed, in the place of an unconfirmed one.
    pub(crate) async fn enrol(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        secret: &TotpSecret,
    ) -> Result<(), AuthError> {
        let found = self.load(scope, actor).await?;
        if found.as_ref().is_some_and(|(factor, _)| factor.confirmed) {
            return Err(AuthError::FactorExists);
        }
        let row = actor_digest(actor);
        let sealed = self
            .sealer
            .seal(
                SealScope::from(scope),
                KeyPurpose::STATE,
                &cell(row.as_bytes())?,
                secret.expose(),
            )
            .await?;
        let factor = TotpFactor {
            sealed,
            confirmed: false,
            last_step: None,
        };
        let at = actor_key(KIND, actor)?;
        let read = found.map(|(_, version)| version);
        let tx = unchanged(Transaction::new(), &at, read).put(at.clone(), encode(&factor)?);
        self.state.commit(scope.tenant(), tx).await.map(|_| ())
    }

    /// Checks `code` at `now`; an accepted one is used up in the same commit, so of two callers
    /// with one code only one is let in.
    pub(crate) async fn prove(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        code: &str,
        then: OnAccept,
        now: Timestamp,
    ) -> Result<CodeVerdict, AuthError> {
        let at = actor_key(KIND, actor)?;
        for _ in 0..MAX_ATTEMPTS {
            let Some((factor, version)) = self.load(scope, actor).await? else {
                return Err(AuthError::FactorUnknown);
            };
            if factor.confirmed == (then == OnAccept::Confirm) {
                return Err(match then {
                    OnAccept::Confirm => AuthError::FactorExists,
                    OnAccept::Keep | OnAccept::Remove => AuthError::FactorUnknown,
                });
            }
            let Some(step) = self.open(scope, actor, &factor).await?.check(code, now)? else {
                return Ok(CodeVerdict::Wrong);
            };
            if factor.last_step.is_some_and(|last| step <= last) {
                return Ok(CodeVerdict::Replayed);
            }
            let used = TotpFactor {
                last_step: Some(step),
                confirmed: true,
                ..factor
            };
            let tx = Transaction::new().require(at.clone(), version);
            let tx = match then {
                OnAccept::Keep | OnAccept::Confirm => tx.put(at.clone(), encode(&used)?),
                OnAccept::Remove => tx.delete(at.clone()),
            };
            match self.state.commit(scope.tenant(), tx).await {
                Err(AuthError::Contended) => {}
                Err(other) => return Err(other),
                Ok(_) => return Ok(CodeVerdict::Accepted),
            }
        }
        Err(AuthError::Contended)
    }

    async fn open(
        &self,
        scope: &TenantScope,
        actor: &ActorId,
        factor: &TotpFactor,
    ) -> Result<TotpSecret, AuthError> {
        let row = actor_digest(actor);
        let opened = self
            .sealer
            .open(
                SealScope::from(scope),
                KeyPurpose::STATE,
                &cell(row.as_bytes())?,
                &factor.sealed,
            )
            .await?;
        TotpSecret::from_bytes(&opened).ok_or(AuthError::Record)
    }
}

fn cell(row: &[u8]) -> Result<Cell<'_>, AuthError> {
    Ok(Cell::new(
        TABLE,
        COLUMN,
        Row::named(row).ok_or(AuthError::Record)?,
    ))
}
