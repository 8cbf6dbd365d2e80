//! One worker at one rotation: pass after pass through the rows, and the scan that proves the end.
//!
//! What a source holds is the truth about how far a pass is; the record only says whose turn it is and
//! shows counts. So a kill at any point costs at most the batch that was under way.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::TenantScope;
use eonpro_core::port::{Checkpoint, Counted, JobName, RotationRow, RotationSource, SealScope};
use eonpro_core::time::{Monotonic, Timestamp};

use super::lease::{Lease, Turn};
use super::machine::{Phase, Step};
use super::record::{FailedRow, JobState, MAX_FAILED_ROWS, SourceProgress, Stage};
use super::work::{self, Bench, IndexColumns, RowWork};
use super::{RotationConfig, RotationKind};
use crate::cobblestone::Cause;
use crate::envelope;
use crate::error::CryptoError;
use crate::events::Refusal;
use crate::index_status::{IndexScan, IndexStatus};
use crate::key_type::KeyType;
use crate::keyset::{KeyId, KeyRole, KeyState};
use crate::live::LiveKeys;
use crate::service::Encryption as _;
use crate::vault::Vault;

/// A worker. Everything that it must remember beyond a kill is in the lease's record or in the sources.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    pub(super) vault: &'a Vault,
    pub(super) config: &'a RotationConfig,
    pub(super) scope: &'a TenantScope,
    pub(super) kind: &'a RotationKind,
    pub(super) name: JobName,
    pub(super) sources: Vec<Arc<dyn RotationSource>>,
    pub(super) lease: Lease<'a>,
    /// When the next batch may begin.
    pub(super) pace: Monotonic,
}

impl Worker<'_> {
    /// Works until the rotation is over, paused or cancelled.
    pub(super) async fn work(mut self) -> Result<JobState, CryptoError> {
        let mut progress = Vec::new();
        for source in &self.sources {
            let stored = source
                .claim(self.scope, &self.name, self.lease.fence)
                .await?;
            let stored = stored.as_deref().map(SourceProgress::decode).transpose()?;
            progress.push(stored.unwrap_or_default());
        }
        loop {
            let turn = match self.lease.state.phase {
                Phase::Running => self.pass(&mut progress).await?,
                Phase::Verifying => self.verify().await?,
                _ => return Ok(self.lease.state),
            };
            if turn == Turn::Stopped {
                return Ok(self.lease.state);
            }
        }
    }

    fn wall(&self) -> Timestamp {
        self.vault.clock().wall()
    }

    fn seal_scope(&self) -> SealScope {
        SealScope::from(self.scope)
    }

    async fn pass(&mut self, progress: &mut [SourceProgress]) -> Result<Turn, CryptoError> {
        // The phases of an index must be settled before a row is touched.
        if self.lease.state.stage != Stage::Reseal && self.settle().await? == Turn::Stopped {
            return Ok(Turn::Stopped);
        }
        // By the store, so that what another process has turned or moved is known.
        self.vault.current_keys(self.seal_scope()).await?;
        let (run, pass) = (self.lease.state.run, self.lease.state.pass);
        let mut total = 0_u64;
        for (source, progress) in self.sources.iter().zip(progress.iter_mut()) {
            total = total.saturating_add(source.count(self.scope, Counted::Rows).await?);
            if (progress.run, progress.pass) != (run, pass) {
                *progress = SourceProgress {
                    run,
                    pass,
                    ..SourceProgress::default()
                };
            }
        }
        self.lease.state.total = total;
        self.add_up(progress);
        self.lease.state.begun = (self.wall(), self.lease.state.done);
        if self.lease.save(self.wall()).await? == Turn::Stopped {
            return Ok(Turn::Stopped);
        }
        for at in 0..self.sources.len() {
            while progress.get(at).is_some_and(|progress| !progress.end) {
                if self.lease.check(self.wall()).await? == Turn::Stopped {
                    return Ok(Turn::Stopped);
                }
                self.batch(at, progress).await?;
                self.add_up(progress);
            }
        }
        self.lease.step(Step::PassEnded, self.wall()).await
    }

    /// One batch: read, sealed anew, replaced together with the progress.
    async fn batch(
        &mut self,
        at: usize,
        progress: &mut [SourceProgress],
    ) -> Result<(), CryptoError> {
        let (Some(source), Some(progress)) = (self.sources.get(at), progress.get_mut(at)) else {
            return Ok(());
        };
        let source = Arc::clone(source);
        self.vault.clock().sleep_until(self.pace).await;
        let rows = source
            .batch(self.scope, progress.cursor.as_ref(), self.config.batch())
            .await?;
        let keys = self.vault.keys_at_hand(self.seal_scope()).await?;
        let mut changes = Vec::new();
        let mut next = progress.clone();
        for row in &rows {
            let worked = self.row(&keys, &*source, row)?;
            next.done = next.done.saturating_add(1);
            next.cursor = Some(row.at.clone());
            changes.extend(worked.changes);
            if !worked.unopened.is_empty() {
                next.unopened = next.unopened.saturating_add(1);
            }
            for (column, cause) in worked.unopened {
                if next.failed.len() < MAX_FAILED_ROWS {
                    let name = column.as_str();
                    let failed = FailedRow::new(source.name(), name, next.done, &row.row);
                    next.failed.push(failed);
                }
                if cause != Cause::Unindexable {
                    let refusal = Refusal::new(source.table(), Some(column), 0, cause);
                    self.vault.raise(self.scope.cx(), refusal);
                }
            }
        }
        next.end = rows.is_empty();
        let checkpoint = Checkpoint {
            job: self.name.clone(),
            fence: self.lease.fence,
            progress: next.encode()?,
        };
        let replaced = source
            .replace(self.scope, changes, Some(checkpoint))
            .await?;
        // Known only after the transaction: they are stored with the next batch.
        next.updated = next.updated.saturating_add(replaced.updated);
        next.lost = next.lost.saturating_add(replaced.lost);
        *progress = next;
        if let Some(rate) = self.config.rows_per_second {
            let span = Duration::from_secs(1).saturating_mul(rows.len() as u32) / rate.get();
            self.pace = self.pace.max(self.vault.clock().monotonic()).plus(span);
        }
        Ok(())
    }

    fn row(
        &self,
        keys: &LiveKeys,
        source: &dyn RotationSource,
        row: &RotationRow,
    ) -> Result<RowWork, CryptoError> {
        let bench = Bench { keys, source };
        match (self.kind, self.lease.state.stage) {
            (RotationKind::Reseal(of), _) => bench.reseal(row, of.suite),
            (RotationKind::Reindex(columns), stage) => {
                let status = keys.index_status(&columns.index);
                match (stage, status) {
                    (Stage::Fill, IndexStatus::Adding { new, .. }) => bench.fill(row, columns, new),
                    (Stage::Empty, IndexStatus::Dropping { old, .. }) => {
                        work::empty(row, columns, old)
                    }
                    _ => Err(CryptoError::IndexPhase("the index has moved meanwhile")),
                }
            }
        }
    }

    /// The counts of the pass, for whoever looks.
    fn add_up(&mut self, progress: &[SourceProgress]) {
        let state = &mut self.lease.state;
        let sum = |of: fn(&SourceProgress) -> u64| {
            progress
                .iter()
                .fold(0_u64, |sum, one| sum.saturating_add(of(one)))
        };
        state.done = sum(|one| one.done);
        state.unopened = sum(|one| one.unopened);
        state.updated = state.before.0.saturating_add(sum(|one| one.updated));
        state.lost = state.before.1.saturating_add(sum(|one| one.lost));
        let failed = progress.iter().flat_map(|one| one.failed.iter().cloned());
        state.failed = failed.take(MAX_FAILED_ROWS).collect();
    }

    /// Waits until no process can undo what a scan shows, keeping the lease.
    async fn settle(&mut self) -> Result<Turn, CryptoError> {
        loop {
            if self.lease.check(self.wall()).await? == Turn::Stopped {
                return Ok(Turn::Stopped);
            }
            let left = self.lease.state.settled.since(self.wall());
            if left.is_zero() {
                return Ok(Turn::Ours);
            }
            let nap = left.min(self.config.lease / 3);
            let clock = self.vault.clock();
            clock.sleep_until(clock.monotonic().plus(nap)).await;
        }
    }

    async fn verify(&mut self) -> Result<Turn, CryptoError> {
        if self.settle().await? == Turn::Stopped {
            return Ok(Turn::Stopped);
        }
        let remaining = match self.kind {
            RotationKind::Reseal(of) => self.drain(*of).await?,
            RotationKind::Reindex(columns) => {
                let columns = columns.clone();
                self.move_on(&columns).await?
            }
        };
        self.lease.state.remaining = remaining;
        let state = &mut self.lease.state;
        if remaining == 0 && state.unopened == 0 {
            return self.proven().await;
        }
        // What does not open now does not open in another pass either.
        let step = if state.unopened == 0 && state.tries < self.config.max_passes {
            state.next_pass();
            Step::Again
        } else {
            Step::NotProven
        };
        self.lease.step(step, self.wall()).await
    }

    async fn proven(&mut self) -> Result<Turn, CryptoError> {
        if let (Stage::Fill, RotationKind::Reindex(columns)) = (self.lease.state.stage, self.kind) {
            let status = self
                .vault
                .index_status(self.seal_scope(), &columns.index)
                .await?;
            let state = &mut self.lease.state;
            state.next_pass();
            state.stage = Stage::Empty;
            state.tries = 1;
            state.settled = status.settled_at().unwrap_or(state.settled);
            return self.lease.step(Step::Again, self.wall()).await;
        }
        self.lease.step(Step::Proven, self.wall()).await
    }

    /// Counts what is still sealed under each earlier key, in all sources, and marks those drained under
    /// which nothing is. Returns how many values are left.
    async fn drain(&self, of: KeyType) -> Result<u64, CryptoError> {
        let (scope, role) = (self.seal_scope(), KeyRole::data(&of.role()));
        let mut left = 0_u64;
        for key in self.vault.keys(scope).await? {
            let ours = key.role == role;
            let earlier = ours && key.epoch < self.lease.state.below;
            if !earlier || matches!(key.state, KeyState::Primary | KeyState::Destroyed) {
                continue;
            }
            let here = self.sealed_under(key.id).await?;
            left = left.saturating_add(here);
            match (here, key.state) {
                (0, KeyState::DecryptOnly | KeyState::Compromised) => {
                    self.vault
                        .mark_drained(self.scope.cx(), scope, key.id)
                        .await?;
                }
                (1.., KeyState::Drained) => {
                    let to = KeyState::DecryptOnly;
                    self.vault
                        .set_key_state(self.scope.cx(), scope, key.id, to)
                        .await?;
                }
                _ => {}
            }
        }
        Ok(left)
    }

    async fn sealed_under(&self, key: KeyId) -> Result<u64, CryptoError> {
        let mut sealed = 0_u64;
        for source in &self.sources {
            let under = Counted::Sealed(envelope::prefix(key));
            sealed = sealed.saturating_add(source.count(self.scope, under).await?);
        }
        Ok(sealed)
    }

    /// Counts the rows that keep the index in its phase, and moves it on if there are none. Returns how
    /// many are left.
    async fn move_on(&self, columns: &IndexColumns) -> Result<u64, CryptoError> {
        let (cx, scope, index) = (self.scope.cx(), self.seal_scope(), &columns.index);
        let begun_at = self.wall();
        let status = self.vault.index_status(scope, index).await?;
        let what = match (self.lease.state.stage, status) {
            (Stage::Fill, IndexStatus::Adding { old, new, .. }) => Counted::Lacking {
                has: columns.slot(old),
                lacks: columns.slot(new),
            },
            (Stage::Empty, IndexStatus::Dropping { old, .. }) => Counted::Holding {
                slot: columns.slot(old),
            },
            // Another worker, killed after the move and before it could say so.
            (Stage::Fill, IndexStatus::Dropping { .. })
            | (Stage::Empty, IndexStatus::Stable { .. }) => return Ok(0),
            _ => return Err(CryptoError::IndexPhase("the index has moved meanwhile")),
        };
        let (mut rows, mut left) = (0_u64, 0_u64);
        for source in &self.sources {
            rows = rows.saturating_add(source.count(self.scope, Counted::Rows).await?);
            left = left.saturating_add(source.count(self.scope, what).await?);
        }
        if left > 0 || self.lease.state.unopened > 0 {
            return Ok(left);
        }
        let scan = IndexScan {
            begun_at,
            rows,
            left,
        };
        match self.lease.state.stage {
            Stage::Empty => {
                self.vault
                    .retire_index_version(cx, scope, index, scan)
                    .await?
            }
            _ => {
                self.vault
                    .finish_index_rotation(cx, scope, index, scan)
                    .await?
            }
        };
        Ok(0)
    }
}
