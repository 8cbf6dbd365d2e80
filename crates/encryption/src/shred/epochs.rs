//! A tenant's shred epochs: one that wraps, those that wait for their destruction, those gone.

use eonpro_core::time::Timestamp;

use super::facts::BackupExposure;
use crate::epoch::{Destruction, EpochId};
use crate::error::CryptoError;
use std::time::Duration;

/// The most epochs that wait for their destruction: a custody that fails must not pile them up.
pub(crate) const MAX_PENDING: usize = 16;
/// How many destroyed epochs stay on record, the newest.
const MAX_GONE: usize = 64;

/// The epoch whose key wraps from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) id: EpochId,
    /// The custody that made its key; not known of those from before it was recorded.
    pub(crate) custody: Option<Box<str>>,
    /// Counts a tenant's epochs from 1.
    pub(crate) number: u64,
    pub(crate) opened: Timestamp,
    pub(crate) ends: Timestamp,
    /// How many subjects were shredded under it.
    pub(crate) shredded: u64,
    /// Whether its creation is in the audit log.
    pub(crate) announced: bool,
}

/// An ended epoch whose key is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) id: EpochId,
    pub(crate) custody: Option<Box<str>>,
    pub(crate) number: u64,
    /// Its key stays until then.
    pub(crate) destroy_at: Timestamp,
}

/// An epoch whose key was destroyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) id: EpochId,
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    /// When its provider lets go of it, if not at once.
    pub(crate) until: Option<Timestamp>,
}

/// See the [module](self).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    /// `None` once the tenant was shredded.
    pub(crate) current: Option<Epoch>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) gone: Vec<Gone>,
}

impl Pending {
    /// Whether that custody made its key, as far as is known.
    pub(crate) fn lies_in(&self, custody: &str) -> bool {
        made_in(self.custody.as_deref(), custody)
    }
}

/// Whether `custody` is the one on record. None is on record of old epochs, and those may be anyone's.
fn made_in(recorded: Option<&str>, custody: &str) -> bool {
    recorded.is_none_or(|made_in| made_in == custody)
}

impl Epochs {
    /// Makes `id`, which that custody made, the current epoch; the one before waits for its destruction until `destroy_at`.
    pub(crate) fn begin(
        &mut self,
        (id, custody): (EpochId, &str),
        now: Timestamp,
        length: Duration,
        destroy_at: Timestamp,
    ) -> Result<(), CryptoError> {
        let number = self.newest().saturating_add(1);
        self.retire(destroy_at);
        if self.pending.len() > MAX_PENDING {
            return Err(CryptoError::Record("more than 16 epochs to destroy"));
        }
        self.current = Some(Epoch {
            id,
            custody: Some(custody.into()),
            number,
            opened: now,
            ends: now.plus(length),
            shredded: 0,
            announced: false,
        });
        Ok(())
    }

    /// Ends the current epoch without another.
    pub(crate) fn retire(&mut self, destroy_at: Timestamp) {
        if let Some(Epoch {
            id,
            custody,
            number,
            ..
        }) = self.current.take()
        {
            self.pending.push(Pending {
                id,
                custody,
                number,
                destroy_at,
            });
        }
    }

    /// Records the destruction of a pending epoch.
    pub(crate) fn bury(&mut self, id: &EpochId, at: Timestamp, how: Destruction) {
        let Some(place) = self.pending.iter().position(|one| one.id == *id) else {
            return;
        };
        let Pending { id, number, .. } = self.pending.remove(place);
        let until = match how {
            Destruction::Done => None,
            Destruction::Scheduled { at } => Some(at),
        };
        self.gone.push(Gone {
            id,
            number,
            at,
            until,
        });
        let spare = self.gone.len().saturating_sub(MAX_GONE);
        self.gone.drain(..spare);
    }

    /// Whether another custody than that one made the key that wraps now.
    pub(crate) fn wraps_elsewhere(&self, custody: &str) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|one| !made_in(one.custody.as_deref(), custody))
    }

    /// Whether another custody than that one made `epoch`'s key, which is not known to be gone.
    pub(crate) fn lies_elsewhere(&self, epoch: &EpochId, custody: &str) -> bool {
        let current = self.current.as_ref().filter(|one| one.id == *epoch);
        if current.is_some() {
            return self.wraps_elsewhere(custody);
        }
        let mut pending = self.pending.iter();
        pending.any(|one| one.id == *epoch && !one.lies_in(custody))
    }

    fn newest(&self) -> u64 {
        let current = self.current.iter().map(|one| one.number);
        let pending = self.pending.iter().map(|one| one.number);
        let gone = self.gone.iter().map(|one| one.number);
        current.chain(pending).chain(gone).max().unwrap_or(0)
    }

    /// Whether something waits that can be done now: an epoch to end because a subject was shredded
    /// under it, or a key to destroy.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let ends = self
            .current
            .as_ref()
            .is_some_and(|one| one.shredded > 0 && one.ends <= now);
        ends || self.pending.iter().any(|one| one.destroy_at <= now)
    }

    /// How long a backup opens what `epoch` wrapped.
    pub(crate) fn exposure(
        &self,
        epoch: &EpochId,
        now: Timestamp,
        settle: Duration,
    ) -> BackupExposure {
        if let Some(current) = self.current.as_ref().filter(|one| one.id == *epoch) {
            return BackupExposure::Until(current.ends.max(now).plus(settle));
        }
        if let Some(pending) = self.pending.iter().find(|one| one.id == *epoch) {
            return BackupExposure::Until(pending.destroy_at.max(now));
        }
        // An epoch that is no longer on record was destroyed long ago.
        let gone = self.gone.iter().find(|one| one.id == *epoch);
        match gone.and_then(|one| one.until) {
            Some(until) if now < until => BackupExposure::Until(until),
            _ => BackupExposure::Ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn id(name: &str) -> EpochId {
        EpochId::new(name).unwrap()
    }

    fn begun() -> Epochs {
        let mut epochs = Epochs::default();
        epochs.begin((id("a"), "c"), at(0), HOUR, at(0)).unwrap();
        epochs
    }

    #[test]
    fn an_epoch_is_due_only_if_somebody_was_shredded_under_it() {
        let mut epochs = begun();
        assert!(!epochs.is_due(at(9999)));
        epochs.current.as_mut().unwrap().shredded = 1;
        assert!(!epochs.is_due(at(3599)));
        assert!(epochs.is_due(at(3600)));
    }

    #[test]
    fn the_exposure_follows_the_epoch_to_its_end() {
        let mut epochs = begun();
        let settle = Duration::from_secs(10);
        let seen = |epochs: &Epochs, now| epochs.exposure(&id("a"), at(now), settle);
        assert_eq!(seen(&epochs, 0), BackupExposure::Until(at(3610)));
        assert_eq!(seen(&epochs, 5000), BackupExposure::Until(at(5010)));
        epochs
            .begin((id("b"), "c"), at(5000), HOUR, at(5010))
            .unwrap();
        assert_eq!(epochs.current.as_ref().unwrap().number, 2);
        assert_eq!(seen(&epochs, 5000), BackupExposure::Until(at(5010)));
        let how = Destruction::Scheduled { at: at(9000) };
        epochs.bury(&id("a"), at(5010), how);
        assert_eq!(seen(&epochs, 5010), BackupExposure::Until(at(9000)));
        assert_eq!(seen(&epochs, 9000), BackupExposure::Ended);
    }

    #[test]
    fn epochs_do_not_pile_up_while_the_custody_fails() {
        let mut epochs = begun();
        let refused = (0..100).find(|number| {
            let next = id(&format!("n{number}"));
            epochs.begin((next, "c"), at(1), HOUR, at(1)).is_err()
        });
        assert_eq!(refused, Some(MAX_PENDING as i32));
    }
}
