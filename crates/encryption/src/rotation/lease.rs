//! Who works at a rotation: one worker, while its lease lasts.
//!
//! The lease keeps two workers from doing the same work; what keeps them from doing harm is the fence.
//! It is the commit that took the lease, so a later worker's is higher, and each source takes the
//! checkpoints of the highest fence only.

use std::time::Duration;

use bytes::Bytes;
use eonpro_core::port::kv::{Key, KeyValue, Partition, Transaction, Version};
use eonpro_core::port::{Fence, RotationError};
use eonpro_core::time::Timestamp;

use super::machine::{Phase, Step};
use super::record::JobState;
use crate::error::CryptoError;

/// How often a command is tried again when other writers win.
const MAX_ATTEMPTS: usize = 8;

/// Where one rotation's record lies.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    pub(super) store: &'a dyn KeyValue,
    pub(super) partition: Partition,
    pub(super) key: Key,
}

impl<'a> Place<'a> {
    pub(super) fn new(
        store: &'a dyn KeyValue,
        partition: Partition,
        job: &str,
    ) -> Result<Self, CryptoError> {
        let key = Key::new(Bytes::from(format!("rotation/{job}").into_bytes()))?;
        Ok(Self {
            store,
            partition,
            key,
        })
    }

    pub(super) async fn load(&self) -> Result<Option<(JobState, Version)>, CryptoError> {
        match self.store.get(&self.partition, &self.key).await? {
            None => Ok(None),
            Some(found) => Ok(Some((JobState::decode(&found.value)?, found.version))),
        }
    }

    pub(super) async fn store(
        &self,
        before: Option<Version>,
        state: &JobState,
    ) -> Result<Version, CryptoError> {
        let tx = match before {
            None => Transaction::new().require_absent(self.key.clone()),
            Some(version) => Transaction::new().require(self.key.clone(), version),
        };
        let tx = tx.put(self.key.clone(), state.encode()?);
        Ok(self.store.commit(&self.partition, tx).await?)
    }

    /// Lets `step` happen and takes the rotation from its worker, if it has one.
    pub(super) async fn command(&self, step: Step) -> Result<JobState, CryptoError> {
        for _ in 0..MAX_ATTEMPTS {
            let (mut state, version) = self.load().await?.ok_or(CryptoError::Phase("unplanned"))?;
            let after = state.phase.after(step);
            let after = after.ok_or(CryptoError::Phase(state.phase.name()))?;
            if state.phase == Phase::Failed && after == Phase::Running {
                state.next_pass();
                state.tries = 1;
            }
            state.phase = after;
            state.holder = 0;
            match self.store(Some(version), &state).await {
                Err(CryptoError::Conflict) => {}
                other => {
                    other?;
                    return Ok(state);
                }
            }
        }
        Err(CryptoError::Conflict)
    }
}

impl JobState {
    /// Begins another pass from the first row.
    pub(super) fn next_pass(&mut self) {
        self.pass = self.pass.saturating_add(1);
        self.tries = self.tries.saturating_add(1);
        self.before = (self.updated, self.lost);
        self.done = 0;
        self.unopened = 0;
        self.remaining = 0;
        self.failed.clear();
    }
}

/// What a look at the record showed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Go on.
    Ours,
    /// Somebody paused or cancelled the rotation.
    Stopped,
}

/// One worker's hold on a rotation.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    place: Place<'a>,
    pub(super) state: JobState,
    version: Version,
    pub(super) fence: Fence,
    span: Duration,
}

impl<'a> Lease<'a> {
    /// Takes the rotation up; `Err` holds a rotation that no worker may take up.
    pub(super) async fn take(
        place: Place<'a>,
        worker: u64,
        now: Timestamp,
        span: Duration,
    ) -> Result<Result<Self, JobState>, CryptoError> {
        let (mut state, version) = place.load().await?.ok_or(CryptoError::Phase("unplanned"))?;
        if !state.phase.is_workable() {
            return Ok(Err(state));
        }
        let held = state.holder != 0 && state.holder != worker && state.until > now;
        if held {
            let retry_after = state.until.since(now);
            return Err(CryptoError::Held { retry_after });
        }
        state.phase = state.phase.after(Step::Start).unwrap_or(state.phase);
        state.holder = worker;
        state.until = now.plus(span);
        state.begun = (now, state.done);
        state.seen = now;
        // A worker that was quicker holds it now.
        let version = match place.store(Some(version), &state).await {
            Err(CryptoError::Conflict) => return Err(CryptoError::Held { retry_after: span }),
            other => other?,
        };
        Ok(Ok(Self {
            place,
            state,
            version,
            fence: Fence(version.0),
            span,
        }))
    }

    /// Looks whether the rotation is still ours, and renews the lease when half of it is over.
    pub(super) async fn check(&mut self, now: Timestamp) -> Result<Turn, CryptoError> {
        let found = self.place.load().await?;
        let (state, version) = found.ok_or(CryptoError::Phase("unplanned"))?;
        if version != self.version {
            return self.judge(&state);
        }
        if self.state.until.since(now) > self.span / 2 {
            return Ok(Turn::Ours);
        }
        self.save(now).await
    }

    /// Writes the state at hand.
    pub(super) async fn save(&mut self, now: Timestamp) -> Result<Turn, CryptoError> {
        self.state.until = now.plus(self.span);
        self.state.seen = now;
        match self.place.store(Some(self.version), &self.state).await {
            Ok(version) => {
                self.version = version;
                Ok(Turn::Ours)
            }
            Err(CryptoError::Conflict) => {
                let found = self.place.load().await?;
                let (state, _) = found.ok_or(CryptoError::Phase("unplanned"))?;
                self.judge(&state)
            }
            Err(error) => Err(error),
        }
    }

    /// Lets `step` happen, and gives the rotation back if no worker is needed any more.
    pub(super) async fn step(&mut self, step: Step, now: Timestamp) -> Result<Turn, CryptoError> {
        let after = self.state.phase.after(step);
        self.state.phase = after.ok_or(CryptoError::Phase(self.state.phase.name()))?;
        if self.state.phase.is_over() {
            self.state.holder = 0;
        }
        self.save(now).await
    }

    /// What it means that somebody else wrote the record.
    fn judge(&mut self, found: &JobState) -> Result<Turn, CryptoError> {
        let stopped = matches!(found.phase, Phase::Paused | Phase::Cancelled);
        if found.run == self.state.run && stopped {
            self.state = found.clone();
            return Ok(Turn::Stopped);
        }
        Err(RotationError::Fenced.into())
    }
}
