//! Rotation of what is sealed already: every value of a purpose moved to its present key, or every row
//! given the next version of a blind index.
//!
//! A [`Rotator`] knows the sources of an application, which is where the rows are. A rotation of one
//! scope is planned once and then worked at by whoever calls [`Rotator::run`]: a kill at any point costs
//! the batch that was under way, and of two workers only the one with the higher fence advances.
//!
//! A key counts as drained only when a scan over *all* sources of its purpose found nothing under it,
//! and only when the scan began after every process had stopped sealing under it.

mod job;
mod lazy;
mod lease;
mod machine;
mod record;
mod work;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::TenantScope;
use eonpro_core::port::{JobName, MAX_ROTATION_BATCH, RotationSource, SealError, SealScope};
use eonpro_core::time::Timestamp;

pub use lazy::{LazyCounts, LazyResealer};
pub use machine::Phase;
pub use record::{FailedRow, MAX_FAILED_ROWS};
pub use work::{IndexColumns, TextOf, text_of};

use crate::error::CryptoError;
use crate::index_status::IndexStatus;
use crate::key_type::KeyType;
use crate::keyset::{KeyId, KeyRole, KeyState};
use crate::random::fill_random;
use crate::repository::partition;
use crate::service::{Encryption as _, ShredApproval};
use crate::subject::SUBJECT;
use crate::vault::Vault;
use job::Worker;
use lease::{Lease, Place};
use machine::Step;
use record::{JobState, Stage};

/// What a rotation does.
#[derive(Debug, Clone)]
pub enum RotationKind {
    /// Seals anew, under the present key, every value that an earlier key of that type sealed.
    Reseal(KeyType),
    /// Gives every row a token of the index's next version, then takes the old ones away.
    Reindex(IndexColumns),
}

impl RotationKind {
    fn name(&self) -> Result<JobName, CryptoError> {
        let text = match self {
            // A job's name has no plus.
            Self::Reseal(of) => format!("reseal/{}", of.role().replace('+', ".")),
            Self::Reindex(columns) => {
                let index = &columns.index;
                let column = index.column().map_or("", |column| column.as_str());
                format!("reindex/{}.{column}.{}", index.table.as_str(), index.name)
            }
        };
        JobName::new(&text).ok_or(CryptoError::Config(
            "an index whose names fit 128 characters",
        ))
    }
}

/// Settings of a [`Rotator`].
#[non_exhaustive]
#[derive(Debug, Clone)]
pub struct RotationConfig {
    /// Rows of one batch, which is one transaction: 1 to 1,024.
    pub batch_rows: usize,
    /// The most rows in a second, for one worker; no limit if `None`.
    pub rows_per_second: Option<NonZeroU32>,
    /// For how long a worker that says nothing keeps its rotation: 1 second to 10 minutes.
    pub lease: Duration,
    /// What is added to the vault's `cache_ttl` before a scan counts, for clocks that differ and for
    /// values that were sealed but not yet written: at most 1 hour. Zero is for tests.
    pub settle_margin: Duration,
    /// How often the rows are gone through because a scan found something left: 1 to 100.
    pub max_passes: u32,
}

impl Default for RotationConfig {
    fn default() -> Self {
        Self {
            batch_rows: 256,
            rows_per_second: None,
            lease: Duration::from_secs(30),
            settle_margin: Duration::from_secs(60),
            max_passes: 3,
        }
    }
}

impl RotationConfig {
    /// Checks the bounds.
    ///
    /// # Errors
    /// [`CryptoError::Config`] naming the setting.
    pub fn check(&self) -> Result<(), CryptoError> {
        let lease = Duration::from_secs(1)..=Duration::from_secs(600);
        let rules = [
            (
                (1..=MAX_ROTATION_BATCH).contains(&self.batch_rows),
                "batch_rows of 1 to 1024",
            ),
            (lease.contains(&self.lease), "lease of 1 s to 10 min"),
            (
                self.settle_margin <= Duration::from_secs(3600),
                "settle_margin of at most 1 h",
            ),
            (
                (1..=100).contains(&self.max_passes),
                "max_passes of 1 to 100",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(CryptoError::Config(rule)),
            None => Ok(()),
        }
    }

    /// Rows of one batch: no more than one second's worth, so that a pause is heard.
    fn batch(&self) -> usize {
        let second = self.rows_per_second.map_or(usize::MAX, |rate| {
            usize::try_from(rate.get()).unwrap_or(usize::MAX)
        });
        self.batch_rows.min(second)
    }
}

/// What a [`Rotator`] is made of.
#[derive(Debug)]
pub struct RotatorParts {
    /// The keys.
    pub vault: Vault,
    /// *All* places where values are sealed, whatever their purpose: a place that is left out here is not
    /// scanned, and its values are lost when a drained key is destroyed.
    pub sources: Vec<Arc<dyn RotationSource>>,
    /// Settings.
    pub config: RotationConfig,
}

/// Where a rotation stands.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationStatus {
    /// Its phase.
    pub phase: Phase,
    /// Counts the rotations of this kind in the scope, from 1.
    pub run: u64,
    /// Counts the run's passes through the rows, from 1.
    pub pass: u64,
    /// Rows that the pass has seen.
    pub done: u64,
    /// Rows when the pass began.
    pub total: u64,
    /// Values sealed anew, or tokens changed, in the whole run. A kill may leave a batch uncounted.
    pub updated: u64,
    /// Changes that a concurrent writer was quicker with, in the whole run; likewise.
    pub lost: u64,
    /// Rows of the pass that do not open.
    pub unopened: u64,
    /// Values, or rows, that the last scan found left.
    pub remaining: u64,
    /// The first of the rows that do not open, at most [`MAX_FAILED_ROWS`].
    pub failed: Vec<FailedRow>,
    /// Rows in a second, in the present worker's part of the pass; 0 if that is not known.
    pub rows_per_second: u64,
    /// How long the rest of the pass takes at that rate.
    pub eta: Option<Duration>,
    /// From when on a scan counts.
    pub settled_at: Timestamp,
}

impl From<JobState> for RotationStatus {
    fn from(state: JobState) -> Self {
        let (since, from) = state.begun;
        let seconds = state.seen.since(since).as_secs_f64();
        let rows = state.done.saturating_sub(from);
        let rate = if seconds > 0.0 {
            (rows as f64 / seconds) as u64
        } else {
            0
        };
        let left = state.total.saturating_sub(state.done);
        Self {
            phase: state.phase,
            run: state.run,
            pass: state.pass,
            done: state.done,
            total: state.total,
            updated: state.updated,
            lost: state.lost,
            unopened: state.unopened,
            remaining: state.remaining,
            failed: state.failed,
            rows_per_second: rate,
            eta: left.checked_div(rate).map(Duration::from_secs),
            settled_at: state.settled,
        }
    }
}

/// Moves sealed values to new keys, and rows to new index versions.
///
/// One per process and application. Two processes may each have one: a lease decides who works.
pub struct Rotator {
    vault: Vault,
    sources: Vec<Arc<dyn RotationSource>>,
    config: RotationConfig,
    /// Names this worker in leases; never 0.
    worker: u64,
}

impl Rotator {
    /// A rotator over those sources.
    ///
    /// # Errors
    /// [`CryptoError::Config`], also if two sources have one name; [`CryptoError::Randomness`].
    pub fn new(parts: RotatorParts) -> Result<Self, CryptoError> {
        parts.config.check()?;
        let mut names: Vec<&str> = parts.sources.iter().map(|source| source.name()).collect();
        names.sort_unstable();
        if names
            .windows(2)
            .any(|pair| matches!(pair, [one, next] if one == next))
        {
            return Err(CryptoError::Config("sources with different names"));
        }
        let mut worker = [0; 8];
        fill_random(&mut worker)?;
        Ok(Self {
            vault: parts.vault,
            sources: parts.sources,
            config: parts.config,
            worker: u64::from_be_bytes(worker).max(1),
        })
    }

    /// Plans a rotation, or finds the one that is not over yet. For an index this begins the rotation of
    /// its version, if it was not begun. Idempotent while the rotation lasts. Cancel-safe: repeat it.
    ///
    /// # Errors
    /// [`CryptoError::Config`] if no source has what `kind` is about; [`SealError::UnknownKey`] if the
    /// purpose has no key; [`SealError::Unsupported`] for the purpose `subject`, whose key seals patients'
    /// keys and no rows; [`CryptoError::Conflict`]; errors of the store.
    pub async fn plan(
        &self,
        scope: &TenantScope,
        kind: &RotationKind,
    ) -> Result<RotationStatus, CryptoError> {
        self.sources_of(kind)?;
        let place = self.place(scope, kind)?;
        let before = place.load().await?;
        let (run, version) = match before {
            Some((state, _)) if !state.phase.is_over() => return Ok(state.into()),
            Some((state, version)) => (state.run.saturating_add(1), Some(version)),
            None => (1, None),
        };
        let (stage, below, settled) = match kind {
            RotationKind::Reseal(of) => self.plan_reseal(scope, *of).await?,
            RotationKind::Reindex(columns) => self.plan_reindex(scope, columns).await?,
        };
        let now = self.vault.clock().wall();
        let state = JobState {
            phase: Phase::Planned,
            stage,
            run,
            pass: 1,
            tries: 1,
            below,
            settled,
            holder: 0,
            until: now,
            done: 0,
            total: 0,
            updated: 0,
            lost: 0,
            before: (0, 0),
            unopened: 0,
            remaining: 0,
            failed: Vec::new(),
            begun: (now, 0),
            seen: now,
        };
        place.store(version, &state).await?;
        Ok(state.into())
    }

    async fn plan_reseal(
        &self,
        scope: &TenantScope,
        of: KeyType,
    ) -> Result<(Stage, u64, Timestamp), CryptoError> {
        // It seals patients' keys, which lie in no source: ending the shred epoch moves them.
        if of.purpose == SUBJECT {
            return Err(SealError::Unsupported.into());
        }
        // Read from the store: from now on an earlier key is primary only in a cache.
        let keys = self.vault.keys(scope.into()).await?;
        let role = KeyRole::data(&of.role());
        let primary = keys
            .iter()
            .find(|key| key.state == KeyState::Primary && key.role == role);
        let below = primary.ok_or(SealError::UnknownKey)?.epoch;
        let wait = self
            .vault
            .cache_ttl()
            .saturating_add(self.config.settle_margin);
        Ok((Stage::Reseal, below, self.vault.clock().wall().plus(wait)))
    }

    async fn plan_reindex(
        &self,
        scope: &TenantScope,
        columns: &IndexColumns,
    ) -> Result<(Stage, u64, Timestamp), CryptoError> {
        if columns.texts.len() != columns.index.parts.len() {
            return Err(CryptoError::Config("one text for each part of an index"));
        }
        let ours = SealScope::from(scope);
        let mut status = self.vault.index_status(ours, &columns.index).await?;
        if matches!(status, IndexStatus::Stable { .. }) {
            let begun = self
                .vault
                .begin_index_rotation(scope.cx(), ours, &columns.index);
            status = begun.await?;
        }
        let stage = match status {
            IndexStatus::Dropping { .. } => Stage::Empty,
            _ => Stage::Fill,
        };
        let settled = status.settled_at();
        Ok((stage, 0, settled.unwrap_or(self.vault.clock().wall())))
    }

    /// Works at a planned rotation until it is over, paused or cancelled, waiting where it must; returns
    /// where it stands then. A rotation that is over, paused or cancelled is only looked at.
    ///
    /// Dropped or killed, at any point, it goes on where it was with the next call: at once in this
    /// rotator, when the lease is over in another. One call at a time for one rotation: a second call of
    /// one rotator takes over from the first.
    ///
    /// # Errors
    /// [`CryptoError::Held`] if another worker has it; [`CryptoError::Phase`] if it was not planned;
    /// [`CryptoError::Rotation`] with [`RotationError::Fenced`](eonpro_core::port::RotationError::Fenced)
    /// if another worker took over meanwhile; errors of the stores, after which it can be run again.
    pub async fn run(
        &self,
        scope: &TenantScope,
        kind: &RotationKind,
    ) -> Result<RotationStatus, CryptoError> {
        let sources = self.sources_of(kind)?;
        let place = self.place(scope, kind)?;
        let now = self.vault.clock().wall();
        let lease = match Lease::take(place, self.worker, now, self.config.lease).await? {
            Ok(lease) => lease,
            Err(state) => return Ok(state.into()),
        };
        let worker = Worker {
            vault: &self.vault,
            config: &self.config,
            scope,
            kind,
            name: kind.name()?,
            sources,
            lease,
            pace: self.vault.clock().monotonic(),
        };
        worker.work().await.map(RotationStatus::from)
    }

    /// Where a rotation stands; `None` if none was ever planned. Counts are as old as half a lease.
    ///
    /// # Errors
    /// Errors of the store.
    pub async fn status(
        &self,
        scope: &TenantScope,
        kind: &RotationKind,
    ) -> Result<Option<RotationStatus>, CryptoError> {
        let found = self.place(scope, kind)?.load().await?;
        Ok(found.map(|(state, _)| state.into()))
    }

    /// Pauses a rotation: its worker stops before the next batch.
    ///
    /// # Errors
    /// [`CryptoError::Phase`] unless it is planned, running or verifying; [`CryptoError::Conflict`];
    /// errors of the store.
    pub async fn pause(
        &self,
        scope: &TenantScope,
        kind: &RotationKind,
    ) -> Result<RotationStatus, CryptoError> {
        self.command(scope, kind, Step::Pause).await
    }

    /// Lets a paused rotation go on where it was, or a failed one begin another pass; [`Self::run`] does
    /// the work.
    ///
    /// # Errors
    /// [`CryptoError::Phase`] for any other; [`CryptoError::Conflict`]; errors of the store.
    pub async fn resume(
        &self,
        scope: &TenantScope,
        kind: &RotationKind,
    ) -> Result<RotationStatus, CryptoError> {
        self.command(scope, kind, Step::Resume).await
    }

    /// Gives a rotation up. What was sealed anew stays so; no key is drained by it. An index stays in its
    /// phase, and a later rotation goes on from there.
    ///
    /// # Errors
    /// [`CryptoError::Phase`] if it is completed or cancelled; [`CryptoError::Conflict`]; errors of the
    /// store.
    pub async fn cancel(
        &self,
        scope: &TenantScope,
        kind: &RotationKind,
    ) -> Result<RotationStatus, CryptoError> {
        self.command(scope, kind, Step::Cancel).await
    }

    /// Destroys a drained key after one more scan of all sources. The way to do it: between the proof and
    /// now somebody may have restored old rows.
    ///
    /// # Errors
    /// As [`Encryption::destroy_key`](crate::Encryption::destroy_key); if something is sealed under the
    /// key after all it goes back to [`KeyState::DecryptOnly`] and [`CryptoError::Phase`] is returned.
    pub async fn destroy_drained(
        &self,
        scope: &TenantScope,
        key: KeyId,
        approval: ShredApproval,
    ) -> Result<(), CryptoError> {
        let under = eonpro_core::port::Counted::Sealed(crate::envelope::prefix(key));
        let mut sealed = 0_u64;
        for source in &self.sources {
            sealed = sealed.saturating_add(source.count(scope, under).await?);
        }
        let (cx, ours) = (scope.cx(), SealScope::from(scope));
        if sealed > 0 {
            let keys = self.vault.keys(ours).await?;
            let drained = keys
                .iter()
                .any(|one| one.id == key && one.state == KeyState::Drained);
            if drained {
                self.vault
                    .set_key_state(cx, ours, key, KeyState::DecryptOnly)
                    .await?;
            }
            return Err(CryptoError::Phase(
                "not proven: the key still seals something",
            ));
        }
        self.vault.destroy_key(cx, ours, key, approval).await
    }

    async fn command(
        &self,
        scope: &TenantScope,
        kind: &RotationKind,
        step: Step,
    ) -> Result<RotationStatus, CryptoError> {
        let done = self.place(scope, kind)?.command(step).await;
        done.map(RotationStatus::from)
    }

    fn place(&self, scope: &TenantScope, kind: &RotationKind) -> Result<Place<'_>, CryptoError> {
        let name = kind.name()?;
        Place::new(self.vault.state(), partition(scope.into()), name.as_str())
    }

    fn sources_of(&self, kind: &RotationKind) -> Result<Vec<Arc<dyn RotationSource>>, CryptoError> {
        let has = |source: &dyn RotationSource| match kind {
            RotationKind::Reseal(of) => source.purpose() == of.purpose,
            RotationKind::Reindex(columns) => source.table() == columns.index.table,
        };
        let found = self.sources.iter().filter(|source| has(&***source));
        let found: Vec<_> = found.map(Arc::clone).collect();
        if found.is_empty() {
            return Err(CryptoError::Config("a source for what is rotated"));
        }
        Ok(found)
    }
}

impl fmt::Debug for Rotator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotator")
            .field("sources", &self.sources.len())
            .finish_non_exhaustive()
    }
}
