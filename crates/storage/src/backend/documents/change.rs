//! Changes after storing: delete marker, restore, holds.

use std::sync::Arc;

use eonpro_core::TenantScope;
use eonpro_core::event::Code;
use eonpro_core::id::{DocumentId, PublicId as _, VersionId};

use super::{Appended, Inner};
use crate::error::StorageError;
use crate::events;
use crate::history::{Chain, MAX_HOLDS, Version, VersionState};
use crate::manifest::Entry;
use crate::service::{Head, HoldChange, VersionInfo};

/// How often a change tries again after somebody else was faster.
const ATTEMPTS: usize = 16;
/// The most version ids that FILE-003 names.
const MOST_NAMED: usize = 64;
const SET: Code = Code::constant("set");
const LIFTED: Code = Code::constant("lifted");

/// How an amendment ended.
enum Amended {
    /// There was nothing to do; this is the newest record.
    Not(Head),
    /// By this record.
    So(Head),
    /// By this record, but the store reported an error: perhaps not durably. The effect may stand,
    /// so it is audited, and the error is returned.
    Perhaps(Head, StorageError),
}

impl Inner {
    /// Appends the entry that `decide` derives from the document as it is now; if it derives none,
    /// nothing changes. Decides again whenever somebody else was faster.
    async fn amend(
        &self,
        scope: &TenantScope,
        mut chain: Chain,
        decide: impl Fn(&Chain) -> Result<Option<Entry>, StorageError>,
    ) -> Result<Amended, StorageError> {
        for _ in 0..ATTEMPTS {
            let Some(entry) = decide(&chain)? else {
                return Ok(Amended::Not(chain.head));
            };
            let (after, now) = (Some(chain.head), self.emitter.clock().wall());
            let appended = self.append(scope, chain.document, after, now, vec![entry]);
            match appended.await?.0 {
                Appended::Done(head) => return Ok(Amended::So(head)),
                Appended::Doubtful(head, error) => return Ok(Amended::Perhaps(head, error)),
                Appended::Lost { .. } => chain = self.load(scope, chain.document).await?,
            }
        }
        Err(StorageError::Conflict { head: None })
    }

    /// Whether the document may be deleted now.
    fn deletable(&self, chain: &Chain) -> Result<(), StorageError> {
        if !chain.holds.is_empty() {
            return Err(StorageError::OnHold);
        }
        let until = chain.retained_until(&self.config.policy)?;
        if self.emitter.clock().wall() < until {
            return Err(StorageError::RetentionActive { until });
        }
        Ok(())
    }
}

/// Any version, to describe the document as a whole.
fn representative(chain: &Chain) -> Result<&Version, StorageError> {
    let current = chain.current.and_then(|id| chain.versions.get(&id));
    let any = current.or_else(|| chain.versions.values().next());
    any.ok_or(StorageError::Corrupt)
}

pub(super) async fn delete(
    inner: Arc<Inner>,
    scope: TenantScope,
    document: DocumentId,
    authority: Code,
) -> Result<Head, StorageError> {
    let chain = inner.load(&scope, document).await?;
    if chain.deleted {
        return Ok(chain.head);
    }
    inner.deletable(&chain)?;
    let info = chain.info(representative(&chain)?)?;
    let versions = chain.versions.keys().copied();
    let event = events::deletion(&info, versions, MOST_NAMED, authority.clone());
    events::deleted(&inner.emitter, &scope, event).await?;
    let marker = |chain: &Chain| {
        if chain.deleted {
            return Ok(None);
        }
        inner.deletable(chain)?;
        let authority = authority.as_str().to_owned();
        Ok(Some(Entry::Deleted { authority }))
    };
    match inner.amend(&scope, chain, marker).await? {
        Amended::Not(head) | Amended::So(head) => Ok(head),
        Amended::Perhaps(_, error) => Err(error),
    }
}

pub(super) async fn restore(
    inner: Arc<Inner>,
    scope: TenantScope,
    document: DocumentId,
    from: VersionId,
) -> Result<VersionInfo, StorageError> {
    let chain = inner.load(&scope, document).await?;
    let restored = |chain: &Chain| {
        let version = chain.versions.get(&from).ok_or(StorageError::NotFound)?;
        match chain.state(version) {
            VersionState::Available if !chain.deleted => Ok(None),
            VersionState::Available | VersionState::Superseded => {
                Ok(Some(Entry::Restored { from: from.uuid() }))
            }
            state => Err(StorageError::Unreadable { state }),
        }
    };
    let version = chain.versions.get(&from).ok_or(StorageError::NotFound)?;
    let mut info = chain.info(version)?;
    info.state = VersionState::Available;
    let (head, doubt) = match inner.amend(&scope, chain, restored).await? {
        Amended::Not(head) => {
            info.head = head;
            return Ok(info);
        }
        Amended::So(head) => (head, None),
        Amended::Perhaps(head, error) => (head, Some(error)),
    };
    info.head = head;
    events::uploaded(&inner.emitter, &scope, &info).await?;
    doubt.map_or(Ok(info), Err)
}

pub(super) async fn hold(
    inner: Arc<Inner>,
    scope: TenantScope,
    document: DocumentId,
    change: HoldChange,
) -> Result<Head, StorageError> {
    let chain = inner.load(&scope, document).await?;
    let info = chain.info(representative(&chain)?)?;
    let changed = |chain: &Chain| match &change {
        HoldChange::Set(name) if chain.holds.contains(name) => Ok(None),
        HoldChange::Set(_) if chain.holds.len() >= MAX_HOLDS => Err(StorageError::LimitExceeded),
        HoldChange::Set(name) => Ok(Some(Entry::HoldSet {
            name: name.as_str().to_owned(),
        })),
        HoldChange::Clear(name) if !chain.holds.contains(name) => Ok(None),
        HoldChange::Clear(name) => Ok(Some(Entry::HoldCleared {
            name: name.as_str().to_owned(),
        })),
    };
    let (head, doubt) = match inner.amend(&scope, chain, changed).await? {
        Amended::Not(head) => return Ok(head),
        Amended::So(head) => (head, None),
        Amended::Perhaps(head, error) => (head, Some(error)),
    };
    let (what, name) = match &change {
        HoldChange::Set(name) => (SET, name),
        HoldChange::Clear(name) => (LIFTED, name),
    };
    events::hold_changed(&inner.emitter, &scope, &info, what, name).await?;
    doubt.map_or(Ok(head), Err)
}
