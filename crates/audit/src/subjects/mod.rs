//! Who the patients of a log are: a random pseudonym and a key for each, kept outside of the log.
//!
//! A leaf never changes, so it must not say anything that may have to be forgotten. It names patients by
//! pseudonym and holds fields sealed under the patient's key; both are in one small record in
//! [`KeyValue`]. Deleting the record erases the patient, and every hash and proof stays as it was.

mod naming;
mod pseudonym;
mod record;
mod reveal;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::event::Event;
use eonpro_core::id::{SubjectId, TenantId};
use eonpro_core::port::kv::{Partition, Transaction};
use eonpro_core::port::{DataKey, KeyValue, KvError, SealError, SealScope, Sealer};
use eonpro_core::scope::Authority;
use eonpro_core::time::{Monotonic, SharedClock};
use quick_cache::sync::Cache;
use tokio::sync::RwLock;

pub(crate) use naming::Naming;
pub use pseudonym::Pseudonym;
use record::{Record, Token, Tokens};
pub use reveal::{Revealed, RevealedField};

use crate::config::AuditConfig;
use crate::error::AuditError;
use crate::log_id::LogId;

const SERVICE: &str = "audit";
/// How often somebody else may win before we give up.
const ATTEMPTS: usize = 8;

/// A patient at hand.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) subject: SubjectId,
    pub(crate) pseudonym: Pseudonym,
    /// Wiped when the last holder lets go.
    pub(crate) key: Arc<dyn DataKey>,
    until: Monotonic,
}

/// Keeps the records. See the [module](self).
pub(crate) struct SubjectVault {
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) authority: Authority,
    state: Arc<dyn KeyValue>,
    clock: SharedClock,
    ttl: Duration,
    cached: Cache<(Option<TenantId>, SubjectId), Arc<Known>>,
    /// Whoever fills the cache reads, whoever shreds writes: nothing read before is cached after.
    shredding: RwLock<()>,
}

impl fmt::Debug for SubjectVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectVault")
    }
}

impl SubjectVault {
    pub(crate) fn new(
        sealer: Arc<dyn Sealer>,
        authority: Authority,
        state: Arc<dyn KeyValue>,
        clock: SharedClock,
        config: &AuditConfig,
    ) -> Self {
        Self {
            sealer,
            authority,
            state,
            clock,
            ttl: config.subject_ttl,
            cached: Cache::new(config.subject_cache),
            shredding: RwLock::new(()),
        }
    }

    /// Whose keys seal what stands in `log`.
    pub(crate) fn scope(&self, log: &LogId) -> SealScope {
        match log {
            LogId::Tenant(tenant) => SealScope::of_tenant(&self.authority, *tenant),
            LogId::System | LogId::Directory => SealScope::System,
        }
    }

    /// How long another process may go on with a patient whose record is gone.
    pub(crate) fn exposure(&self) -> Duration {
        self.ttl
    }

    /// The patients of `event`, each with a record from now on.
    pub(crate) async fn naming(&self, log: &LogId, event: &Event) -> Result<Naming, AuditError> {
        let mut known = Vec::new();
        for subject in naming::subjects_of(event) {
            known.push(self.known(log, subject).await?);
        }
        Ok(Naming::new(known))
    }

    /// `subject` in `log`, at hand or from its record, which is made if there is none. One fill at a
    /// time for each.
    async fn known(&self, log: &LogId, subject: SubjectId) -> Result<Arc<Known>, AuditError> {
        let name = (owner(log), subject);
        if let Some(known) = self.cached.get(&name) {
            if self.clock.monotonic() < known.until {
                return Ok(known);
            }
            let until = known.until;
            let _expired = self.cached.remove_if(&name, |held| held.until <= until);
        }
        // Before the single flight, not within: then a shred never comes between a read and its caching.
        let _filling = self.shredding.read().await;
        let fill = self.fill(log, subject);
        self.cached.get_or_insert_async(&name, fill).await
    }

    async fn fill(&self, log: &LogId, subject: SubjectId) -> Result<Arc<Known>, AuditError> {
        // From before the read: a record deleted after it is forgotten in time.
        let until = self.clock.monotonic().plus(self.ttl);
        let (scope, partition) = (self.scope(log), partition(log));
        let tokens = Tokens::of(&*self.sealer, scope).await?;
        let token = tokens.of_subject(subject);
        for _ in 0..ATTEMPTS {
            let record = match self.state.get(&partition, &token.record_key()?).await? {
                Some(there) => Record::open(&*self.sealer, scope, &token, &there.value).await?,
                None => {
                    let new = Record::create(&*self.sealer, scope, subject, &token).await?;
                    let (record, sealed) = new;
                    let sign = tokens.of_pseudonym(&record.pseudonym);
                    match self.insert(&partition, &token, &sign, sealed).await {
                        Err(KvError::Conflict) => continue,
                        other => other?,
                    }
                    record
                }
            };
            if record.subject != subject {
                return Err(SealError::Authentication.into());
            }
            return Ok(Arc::new(Known {
                subject,
                pseudonym: record.pseudonym,
                key: record.key,
                until,
            }));
        }
        Err(KvError::Conflict.into())
    }

    async fn insert(
        &self,
        partition: &Partition,
        token: &Token,
        sign: &Token,
        sealed: Vec<u8>,
    ) -> Result<(), KvError> {
        let (record, sign) = (token.record_key()?, sign.sign_key()?);
        let insert = Transaction::new()
            .require_absent(record.clone())
            .require_absent(sign.clone())
            .put(record, sealed)
            .put(sign, token.as_bytes().to_vec());
        self.state.commit(partition, insert).await.map(drop)
    }

    /// The pseudonym of `subject` in `log`, if it has one. Read from the store, never from memory.
    pub(crate) async fn pseudonym_of(
        &self,
        log: &LogId,
        subject: SubjectId,
    ) -> Result<Option<Pseudonym>, AuditError> {
        let scope = self.scope(log);
        let tokens = Tokens::of(&*self.sealer, scope).await?;
        let token = tokens.of_subject(subject);
        let (partition, key) = (partition(log), token.record_key()?);
        let Some(there) = self.state.get(&partition, &key).await? else {
            return Ok(None);
        };
        let record = Record::open(&*self.sealer, scope, &token, &there.value).await?;
        Ok(Some(record.pseudonym))
    }

    /// Who `pseudonym` is in `log`, and the patient's key; `None` once it was shredded. Read from the
    /// store, never from memory.
    pub(crate) async fn subject_of(
        &self,
        log: &LogId,
        pseudonym: &Pseudonym,
    ) -> Result<Option<(SubjectId, Arc<dyn DataKey>)>, AuditError> {
        let tokens = Tokens::of(&*self.sealer, self.scope(log)).await?;
        let found = self.find(log, &tokens, pseudonym).await?;
        Ok(found.map(|record| (record.subject, record.key)))
    }

    /// The record that `pseudonym` leads to.
    async fn find(
        &self,
        log: &LogId,
        tokens: &Tokens,
        pseudonym: &Pseudonym,
    ) -> Result<Option<Record>, AuditError> {
        let partition = partition(log);
        let sign = tokens.of_pseudonym(pseudonym).sign_key()?;
        let Some(sign) = self.state.get(&partition, &sign).await? else {
            return Ok(None);
        };
        let token = Token::parse(&sign.value).ok_or(SealError::Malformed)?;
        let Some(there) = self.state.get(&partition, &token.record_key()?).await? else {
            return Ok(None);
        };
        let record = Record::open(&*self.sealer, self.scope(log), &token, &there.value).await?;
        // A sign can be put back without its record, which is another one's then.
        if record.pseudonym != *pseudonym {
            return Ok(None);
        }
        Ok(Some(record))
    }

    /// Deletes the record of `subject`, and forgets it. Returns the pseudonym that means nothing from now
    /// on; `None` if there was no record. Idempotent.
    pub(crate) async fn forget(
        &self,
        log: &LogId,
        subject: SubjectId,
    ) -> Result<Option<Pseudonym>, AuditError> {
        self.delete(log, subject, None).await
    }

    /// As [`Self::forget`]; with `only` no record that holds another pseudonym.
    async fn delete(
        &self,
        log: &LogId,
        subject: SubjectId,
        only: Option<Pseudonym>,
    ) -> Result<Option<Pseudonym>, AuditError> {
        let _shredding = self.shredding.write().await;
        let _its_key_goes_with_it = self.cached.remove(&(owner(log), subject));
        let (scope, partition) = (self.scope(log), partition(log));
        let tokens = Tokens::of(&*self.sealer, scope).await?;
        let token = tokens.of_subject(subject);
        for _ in 0..ATTEMPTS {
            let key = token.record_key()?;
            let Some(there) = self.state.get(&partition, &key).await? else {
                return Ok(None);
            };
            let record = Record::open(&*self.sealer, scope, &token, &there.value).await?;
            if only.is_some_and(|only| only != record.pseudonym) {
                return Ok(None);
            }
            let sign = tokens.of_pseudonym(&record.pseudonym).sign_key()?;
            let delete = Transaction::new()
                .require(key.clone(), there.version)
                .delete(key)
                .delete(sign);
            match self.state.commit(&partition, delete).await {
                Err(KvError::Conflict) => {}
                other => return other.map(|_| Some(record.pseudonym)).map_err(Into::into),
            }
        }
        Err(KvError::Conflict.into())
    }

    /// Deletes the record that `pseudonym` leads to, if there still is one. Says whether there was.
    pub(crate) async fn forget_pseudonym(
        &self,
        log: &LogId,
        pseudonym: &Pseudonym,
    ) -> Result<bool, AuditError> {
        let tokens = Tokens::of(&*self.sealer, self.scope(log)).await?;
        let Some(record) = self.find(log, &tokens, pseudonym).await? else {
            return Ok(false);
        };
        let deleted = self.delete(log, record.subject, Some(*pseudonym)).await?;
        Ok(deleted.is_some())
    }
}

fn owner(log: &LogId) -> Option<TenantId> {
    match log {
        LogId::Tenant(tenant) => Some(*tenant),
        LogId::System | LogId::Directory => None,
    }
}

/// The tenant's own partition: whoever takes a tenant's state away takes its patients along.
fn partition(log: &LogId) -> Partition {
    match owner(log) {
        Some(tenant) => Partition::tenant(tenant, SERVICE),
        None => Partition::system(SERVICE),
    }
}
