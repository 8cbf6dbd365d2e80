//! Where shredding keeps its records, in the tenant's `encryption` partition: `subject/<uuid>`,
//! `request/tenant`, `request/subject/<uuid>`, `holds`, `epoch`, `epoch-cursor`; and in the system's
//! partition `shred-epoch/<tenant>` for each tenant that ever shredded a patient, and `notice/...` for
//! what was destroyed in the last hour.

use std::sync::Arc;

use bytes::Bytes;
use eonpro_core::id::{SubjectId, TenantId};
use eonpro_core::port::SealScope;
use eonpro_core::port::kv::{Change, Key, KeyValue, Partition, Transaction, Version};
use eonpro_core::time::Timestamp;
use futures_util::stream::BoxStream;

use super::facts::ShredTarget;
use super::wire::Stored;
use super::{Epochs, Holds, Notice, ShredRequest};
use crate::error::CryptoError;
use crate::keyset::ScopeRecord;
use crate::record;
use crate::repository::{self, SERVICE, partition};
use crate::subject::{self, SubjectRecord};

const SUBJECTS: &str = "subject/";
pub(super) const NOTICES: &str = "notice/";
const DUE: &str = "shred-epoch/";
/// How many records one page holds.
const PAGE: usize = 256;

/// A record, and the commit that wrote it; `None` if it is absent.
#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) version: Option<Version>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Shreds(Arc<dyn KeyValue>);

/// `tx`, which fails if `key` was written since.
pub(crate) fn require(tx: Transaction, key: Key, version: Option<Version>) -> Transaction {
    match version {
        None => tx.require_absent(key),
        Some(version) => tx.require(key, version),
    }
}

pub(super) fn key(text: String) -> Result<Key, CryptoError> {
    Ok(Key::new(Bytes::from(text))?)
}

impl Shreds {
    pub(crate) fn new(state: Arc<dyn KeyValue>) -> Self {
        Self(state)
    }

    pub(crate) fn subject_key(subject: SubjectId) -> Result<Key, CryptoError> {
        key(format!("{SUBJECTS}{subject}"))
    }

    pub(crate) fn request_key(target: ShredTarget) -> Result<Key, CryptoError> {
        key(match target {
            ShredTarget::Tenant => "request/tenant".to_owned(),
            ShredTarget::Subject(subject) => format!("request/subject/{subject}"),
        })
    }

    pub(crate) fn holds_key() -> Result<Key, CryptoError> {
        key("holds".to_owned())
    }

    pub(crate) fn epochs_key() -> Result<Key, CryptoError> {
        key("epoch".to_owned())
    }

    fn cursor_key() -> Result<Key, CryptoError> {
        key("epoch-cursor".to_owned())
    }

    async fn find<T: Stored>(
        &self,
        scope: SealScope,
        key: &Key,
    ) -> Result<Option<Found<T>>, CryptoError> {
        let found = self.0.get(&partition(scope), key).await?;
        let read = found.map(|found| {
            Ok::<_, CryptoError>(Found {
                value: T::read(&found.value)?,
                version: Some(found.version),
            })
        });
        read.transpose()
    }

    pub(crate) async fn request(
        &self,
        scope: SealScope,
        target: ShredTarget,
    ) -> Result<Option<Found<ShredRequest>>, CryptoError> {
        self.find(scope, &Self::request_key(target)?).await
    }

    pub(crate) async fn holds(&self, scope: SealScope) -> Result<Found<Holds>, CryptoError> {
        let found = self.find(scope, &Self::holds_key()?).await?;
        Ok(found.unwrap_or(Found {
            value: Holds::default(),
            version: None,
        }))
    }

    pub(crate) async fn epochs(&self, scope: SealScope) -> Result<Found<Epochs>, CryptoError> {
        let found = self.find(scope, &Self::epochs_key()?).await?;
        Ok(found.unwrap_or(Found {
            value: Epochs::default(),
            version: None,
        }))
    }

    pub(crate) async fn subject(
        &self,
        scope: SealScope,
        subject: SubjectId,
    ) -> Result<Found<Option<SubjectRecord>>, CryptoError> {
        let key = Self::subject_key(subject)?;
        let found = self.0.get(&partition(scope), &key).await?;
        Ok(match found {
            None => Found {
                value: None,
                version: None,
            },
            Some(found) => Found {
                value: Some(subject::decode(&found.value)?),
                version: Some(found.version),
            },
        })
    }

    /// The next subjects after `after`, in the order of their ids; empty at the end.
    pub(crate) async fn subjects(
        &self,
        scope: SealScope,
        after: Option<SubjectId>,
    ) -> Result<Vec<(SubjectId, SubjectRecord, Version)>, CryptoError> {
        let after = after.map(Self::subject_key).transpose()?;
        let page = self
            .0
            .scan(&partition(scope), SUBJECTS.as_bytes(), after.as_ref(), PAGE)
            .await?;
        let read = page.into_iter().map(|entry| {
            let id = subject_of(&entry.key).ok_or(CryptoError::Record("not a subject's key"))?;
            let record = subject::decode(&entry.versioned.value)?;
            Ok((id, record, entry.versioned.version))
        });
        read.collect()
    }

    pub(crate) async fn commit(
        &self,
        scope: SealScope,
        tx: Transaction,
    ) -> Result<Version, CryptoError> {
        Ok(self.0.commit(&partition(scope), tx).await?)
    }

    /// Where the move of the survivors goes on.
    pub(crate) async fn cursor(&self, scope: SealScope) -> Result<Option<SubjectId>, CryptoError> {
        let found = self.0.get(&partition(scope), &Self::cursor_key()?).await?;
        // Only a hint: what cannot be read means from the start.
        Ok(found.and_then(|found| subject_id(std::str::from_utf8(&found.value).ok()?)))
    }

    pub(crate) async fn keep_cursor(
        &self,
        scope: SealScope,
        at: Option<SubjectId>,
    ) -> Result<(), CryptoError> {
        let key = Self::cursor_key()?;
        let tx = match at {
            None => Transaction::new().delete(key),
            Some(subject) => Transaction::new().put(key, subject.to_string().into_bytes()),
        };
        self.commit(scope, tx).await?;
        Ok(())
    }

    /// Remembers that `tenant`'s epochs must be looked after. Idempotent.
    pub(crate) async fn look_after(&self, tenant: TenantId) -> Result<(), CryptoError> {
        let key = key(format!("{DUE}{tenant}"))?;
        let system = Partition::system(SERVICE);
        if self.0.get(&system, &key).await?.is_none() {
            let tx = Transaction::new().put(key, br#"{"v":1}"#.to_vec());
            self.0.commit(&system, tx).await?;
        }
        Ok(())
    }

    /// Writes a notice. Whoever watches is told of it; nobody reads its value.
    pub(crate) async fn give_notice(
        &self,
        notice: Notice,
        expires: Timestamp,
    ) -> Result<(), CryptoError> {
        let tx = Transaction::new().put_until(notice.key()?, br#"{"v":1}"#.to_vec(), expires);
        self.0.commit(&Partition::system(SERVICE), tx).await?;
        Ok(())
    }

    /// The notices that are given from now on.
    pub(crate) async fn notices(&self) -> Result<BoxStream<'static, Change>, CryptoError> {
        let system = Partition::system(SERVICE);
        Ok(self.0.watch(&system, NOTICES.as_bytes()).await?)
    }

    /// Whether the tenant has an epoch to end or a key to destroy: also if the tenant itself was
    /// shredded and its epochs are still there.
    pub(crate) async fn is_due(
        &self,
        tenant: TenantId,
        now: Timestamp,
    ) -> Result<bool, CryptoError> {
        let partition = Partition::tenant(tenant, SERVICE);
        let Some(found) = self.0.get(&partition, &Self::epochs_key()?).await? else {
            return Ok(false);
        };
        let epochs = Epochs::read(&found.value)?;
        if epochs.is_due(now) {
            return Ok(true);
        }
        let keyset = self.0.get(&partition, &repository::key()?).await?;
        let keyset = keyset
            .map(|found| record::decode(&found.value))
            .transpose()?;
        let shredded = matches!(keyset, Some(ScopeRecord::Shredded(_)));
        Ok(shredded && epochs.current.is_some())
    }

    /// The tenants whose epochs must be looked after.
    pub(crate) async fn looked_after(&self) -> Result<Vec<TenantId>, CryptoError> {
        let system = Partition::system(SERVICE);
        let (mut tenants, mut after) = (Vec::new(), None);
        loop {
            let page = self
                .0
                .scan(&system, DUE.as_bytes(), after.as_ref(), PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(tenants);
            };
            after = Some(last.key.clone());
            let named = page.iter().filter_map(|entry| {
                let text = std::str::from_utf8(entry.key.as_bytes()).ok()?;
                TenantId::parse(text.strip_prefix(DUE)?)
            });
            tenants.extend(named);
        }
    }
}

/// The subject whose record `key` names.
pub(crate) fn subject_of(key: &Key) -> Option<SubjectId> {
    let text = std::str::from_utf8(key.as_bytes()).ok()?;
    subject_id(text.strip_prefix(SUBJECTS)?)
}

fn subject_id(text: &str) -> Option<SubjectId> {
    use eonpro_core::id::PublicId as _;
    Some(SubjectId::from_uuid(uuid::Uuid::try_parse(text).ok()?))
}
