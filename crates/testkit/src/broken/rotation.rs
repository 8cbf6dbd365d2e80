//! Rotation sources with one defect each, around the sound one in memory.

use async_trait::async_trait;
use eonpro_core::TenantScope;
use eonpro_core::phi::{Column, FieldSealing, Table};
use eonpro_core::port::{
    Checkpoint, Counted, Cursor, Fence, JobName, KeyPurpose, Replaced, Replacement, RotationError,
    RotationRow, RotationSource,
};

use crate::rotation::{MemoryRotation, holds, put};
use crate::scope;

/// What is wrong with the source.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RotationDefect {
    /// Leaves out the first row of every page but the first.
    SkipsAtPageBorders,
    /// Begins every page at the start.
    RepeatsPages,
    /// Counts rows where it should remember one.
    PagesByNumber,
    /// Leaves out columns that hold nothing.
    HidesNulls,
    /// Gives all that it has, whatever the limit.
    IgnoresLimit,
    /// Shows and changes the first tenant's rows for everybody.
    LeaksTenants,
    /// Names a head that no row has.
    NamesAnotherHead,
    /// Writes without a look at what is there.
    OverwritesBlindly,
    /// Looks at the first column that is expected only.
    ExpectsOneColumn,
    /// Looks first and writes later, with a gap in between.
    RacesCompareAndSwap,
    /// Says that every change applied.
    CallsLostUpdated,
    /// Counts values whatever their key.
    CountsWrong,
    /// Does what it can of a list and leaves out the rest.
    DoesHalf,
    /// Gives nothing where the store failed.
    SwallowsErrors,
    /// Forgets progress when it is reopened.
    ForgetsProgress,
    /// Takes checkpoints from anybody.
    IgnoresFence,
    /// Changes the rows before it looks at the fence.
    FencesTooLate,
    /// Has one progress for all jobs.
    MixesJobs,
    /// Keeps the first kilobyte of a progress.
    CutsProgress,
}

impl RotationDefect {
    /// Every defect.
    pub const ALL: [Self; 19] = [
        Self::SkipsAtPageBorders,
        Self::RepeatsPages,
        Self::PagesByNumber,
        Self::HidesNulls,
        Self::IgnoresLimit,
        Self::LeaksTenants,
        Self::NamesAnotherHead,
        Self::OverwritesBlindly,
        Self::ExpectsOneColumn,
        Self::RacesCompareAndSwap,
        Self::CallsLostUpdated,
        Self::CountsWrong,
        Self::DoesHalf,
        Self::SwallowsErrors,
        Self::ForgetsProgress,
        Self::IgnoresFence,
        Self::FencesTooLate,
        Self::MixesJobs,
        Self::CutsProgress,
    ];

    /// The check of the suite that is there to catch it.
    #[must_use]
    pub const fn caught_by(self) -> &'static str {
        match self {
            Self::SkipsAtPageBorders | Self::RepeatsPages | Self::HidesNulls => {
                "passes::pages_cover_every_row_once_with_all_it_holds"
            }
            Self::PagesByNumber => "passes::rows_that_come_and_go_hide_no_other",
            Self::IgnoresLimit => "passes::a_page_is_no_longer_than_asked_and_than_the_limit",
            Self::LeaksTenants => "passes::nobody_sees_or_changes_anothers_rows",
            Self::NamesAnotherHead => "passes::its_columns_are_as_it_says",
            Self::OverwritesBlindly | Self::CallsLostUpdated => {
                "changes::a_change_applies_only_while_what_it_expects_is_there"
            }
            Self::ExpectsOneColumn => "changes::every_column_that_is_expected_counts",
            Self::RacesCompareAndSwap => "changes::of_concurrent_changes_one_wins",
            Self::CountsWrong => "changes::counts_are_of_what_is_there",
            Self::DoesHalf => "changes::what_cannot_be_done_is_an_error",
            Self::SwallowsErrors => "changes::without_its_table_every_call_fails",
            Self::ForgetsProgress => "jobs::progress_comes_back_and_a_pass_goes_on_after_a_restart",
            Self::IgnoresFence | Self::FencesTooLate => "jobs::an_earlier_worker_changes_nothing",
            Self::MixesJobs => "jobs::jobs_and_tenants_have_progress_of_their_own",
            Self::CutsProgress => "jobs::the_longest_progress_is_stored",
        }
    }
}

/// A source with one [`RotationDefect`].
#[derive(Debug)]
pub struct BrokenRotation {
    defect: RotationDefect,
    sound: MemoryRotation,
}

impl BrokenRotation {
    /// The rows of `sound`, with that defect.
    #[must_use]
    pub fn new(defect: RotationDefect, sound: MemoryRotation) -> Self {
        Self { defect, sound }
    }

    /// The same rows after a restart.
    #[must_use]
    pub fn reopened(&self) -> Self {
        if self.has(RotationDefect::ForgetsProgress) {
            self.sound.state().jobs.clear();
        }
        Self::new(self.defect, self.sound.clone())
    }

    fn has(&self, defect: RotationDefect) -> bool {
        self.defect == defect
    }

    fn place(&self, given: &TenantScope) -> TenantScope {
        match self.has(RotationDefect::LeaksTenants) {
            true => scope(1),
            false => given.clone(),
        }
    }

    fn job(&self, job: &JobName) -> JobName {
        let one = JobName::new("one").filter(|_| self.has(RotationDefect::MixesJobs));
        one.unwrap_or_else(|| job.clone())
    }

    /// The number of rows that were seen, of a cursor that is one.
    async fn numbered(
        &self,
        scope: &TenantScope,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<RotationRow>, RotationError> {
        let number = after.and_then(|after| after.as_bytes().try_into().ok());
        let mut number = number.map_or(0, u64::from_be_bytes);
        let (mut left, mut page, mut last) = (number, Vec::new(), None);
        while page.len() < limit {
            let mut next = self.sound.batch(scope, last.as_ref(), 1).await?;
            let Some(mut row) = next.pop() else { break };
            last = Some(row.at.clone());
            if left > 0 {
                left -= 1;
                continue;
            }
            number += 1;
            let at = Cursor::new(number.to_be_bytes().to_vec());
            row.at = at.ok_or(RotationError::Malformed("number"))?;
            page.push(row);
        }
        Ok(page)
    }

    /// Without the source's own look at what is there.
    async fn force(&self, scope: &TenantScope, changes: Vec<Replacement>) -> Replaced {
        let mut done = Replaced::default();
        for change in changes {
            let place = (scope.tenant(), change.row);
            let applies = {
                let state = self.sound.state();
                let row = state.rows.get(&place);
                row.is_some_and(|row| {
                    self.has(RotationDefect::OverwritesBlindly) || holds(row, &change.expect)
                })
            };
            tokio::task::yield_now().await;
            match self.sound.state().rows.get_mut(&place) {
                Some(row) if applies => {
                    put(row, change.set);
                    done.updated += 1;
                }
                _ => done.lost += 1,
            }
        }
        done
    }

    async fn replaced(
        &self,
        scope: &TenantScope,
        mut changes: Vec<Replacement>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Replaced, RotationError> {
        match self.defect {
            RotationDefect::ExpectsOneColumn => {
                for change in &mut changes {
                    change.expect.truncate(1);
                }
            }
            RotationDefect::DoesHalf => {
                let mut done = Replaced::default();
                for change in changes {
                    match self.sound.replace(scope, vec![change], None).await {
                        Ok(one) => done.updated += one.updated,
                        Err(_) => done.lost += 1,
                    }
                }
                self.sound.replace(scope, Vec::new(), checkpoint).await?;
                return Ok(done);
            }
            RotationDefect::FencesTooLate => {
                let done = self.sound.replace(scope, changes, None).await?;
                self.sound.replace(scope, Vec::new(), checkpoint).await?;
                return Ok(done);
            }
            RotationDefect::OverwritesBlindly | RotationDefect::RacesCompareAndSwap => {
                self.sound.replace(scope, Vec::new(), checkpoint).await?;
                return Ok(self.force(scope, changes).await);
            }
            _ => {}
        }
        self.sound.replace(scope, changes, checkpoint).await
    }
}

#[async_trait]
impl RotationSource for BrokenRotation {
    fn name(&self) -> &str {
        "broken"
    }

    fn table(&self) -> Table {
        self.sound.table()
    }

    fn purpose(&self) -> KeyPurpose {
        self.sound.purpose()
    }

    fn sealing(&self, column: Column) -> FieldSealing {
        self.sound.sealing(column)
    }

    fn head(&self) -> Option<Column> {
        match self.has(RotationDefect::NamesAnotherHead) {
            true => Some(Column::new("another_head")),
            false => self.sound.head(),
        }
    }

    async fn claim(
        &self,
        scope: &TenantScope,
        job: &JobName,
        fence: Fence,
    ) -> Result<Option<Vec<u8>>, RotationError> {
        self.sound
            .claim(&self.place(scope), &self.job(job), fence)
            .await
    }

    async fn batch(
        &self,
        scope: &TenantScope,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<RotationRow>, RotationError> {
        let scope = &self.place(scope);
        let (after, limit) = match self.defect {
            RotationDefect::PagesByNumber => return self.numbered(scope, after, limit).await,
            RotationDefect::RepeatsPages => (None, limit),
            RotationDefect::SkipsAtPageBorders if after.is_some() => {
                (after, limit.saturating_add(1))
            }
            RotationDefect::IgnoresLimit => (after, usize::MAX),
            _ => (after, limit),
        };
        let mut page = match self.sound.batch(scope, after, limit).await {
            Err(_) if self.has(RotationDefect::SwallowsErrors) => Vec::new(),
            other => other?,
        };
        if self.has(RotationDefect::SkipsAtPageBorders) && after.is_some() && !page.is_empty() {
            page.remove(0);
        }
        if self.has(RotationDefect::HidesNulls) {
            for row in &mut page {
                row.cells.retain(|cell| cell.bytes.is_some());
            }
        }
        Ok(page)
    }

    async fn replace(
        &self,
        scope: &TenantScope,
        changes: Vec<Replacement>,
        checkpoint: Option<Checkpoint>,
    ) -> Result<Replaced, RotationError> {
        let scope = &self.place(scope);
        let asked = changes.len() as u64;
        let mut checkpoint = checkpoint;
        if let Some(one) = &mut checkpoint {
            one.job = self.job(&one.job);
            if self.has(RotationDefect::CutsProgress) {
                one.progress.truncate(1024);
            }
            let state = self.sound.state();
            let place = (scope.tenant(), one.job.clone());
            let seen = state.jobs.get(&place).map(|(seen, _)| *seen);
            if let Some(seen) = seen.filter(|_| self.has(RotationDefect::IgnoresFence)) {
                one.fence = seen;
            }
        }
        match self.replaced(scope, changes, checkpoint).await {
            Err(RotationError::Backend(_)) if self.has(RotationDefect::SwallowsErrors) => {
                Ok(Replaced::default())
            }
            Ok(_) if self.has(RotationDefect::CallsLostUpdated) => Ok(Replaced {
                updated: asked,
                lost: 0,
            }),
            other => other,
        }
    }

    async fn count(&self, scope: &TenantScope, what: Counted) -> Result<u64, RotationError> {
        let what = match what {
            Counted::Sealed(_) if self.has(RotationDefect::CountsWrong) => Counted::Rows,
            other => other,
        };
        match self.sound.count(&self.place(scope), what).await {
            Err(RotationError::Backend(_)) if self.has(RotationDefect::SwallowsErrors) => Ok(0),
            other => other,
        }
    }
}
