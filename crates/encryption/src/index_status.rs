//! Which versions of a blind index are live in a scope, and how they take turns.
//!
//! Version *n* and *n* + 1 have slots of different parity, so both can be stored and constrained side
//! by side. Each move waits until no process can still act by the phase before: keys are cached for
//! `cache_ttl`, and a proof of a scan that began later shows that the rows are as the next phase
//! needs them.

use std::time::Duration;

use eonpro_core::phi::IndexDef;
use eonpro_core::time::Timestamp;

use crate::error::CryptoError;

/// The most indexes of one scope that were ever rotated.
pub const MAX_ROTATED_INDEXES: usize = 256;

/// What is added to `cache_ttl` before a phase counts as settled: for the commit of the phase itself,
/// for clocks that differ between machines, and for a write that was under way.
pub const SETTLE_MARGIN: Duration = Duration::from_secs(60);

/// Where one blind index of one scope stands.
///
/// ```text
/// Stable(n) -- begin --> Adding(n, n+1) -- finish --> Dropping(n, n+1) -- retire --> Stable(n+1)
/// ```
///
/// All processes of a deployment must have the same `cache_ttl`, and clocks that differ by less than
/// [`SETTLE_MARGIN`]; a transaction that stays open for longer than that must be awaited before a
/// scan begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexStatus {
    /// One version is written and asked for.
    Stable {
        /// The version.
        version: u8,
    },
    /// Both versions are written and asked for; uniqueness rests on the old one.
    Adding {
        /// The version that every row has.
        old: u8,
        /// The version that a backfill gives to the rows that lack it.
        new: u8,
        /// From when on every writer writes both: a backfill must not start before.
        settled_at: Timestamp,
    },
    /// The new version alone is written and asked for, and every row has it; uniqueness rests on it.
    Dropping {
        /// The version whose slots are to be emptied.
        old: u8,
        /// The version that every row has.
        new: u8,
        /// From when on nobody writes or asks for the old one: its slots must not be emptied before.
        settled_at: Timestamp,
    },
}

/// What a scan over all rows of a table showed, by which an index moves to its next phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexScan {
    /// When the scan began, by the clock of the vault. It counts only if the phase was settled then:
    /// a writer could otherwise have undone it behind its back.
    pub begun_at: Timestamp,
    /// How many rows it saw.
    pub rows: u64,
    /// How many of them stand in the way: to finish, rows that have a token of the old version and
    /// none of the new one; to retire, rows that still have one of the old version. Must be 0.
    pub left: u64,
}

impl IndexStatus {
    /// The versions that are written and asked for: one, or two while the new one is added.
    #[must_use]
    pub fn live(self) -> (u8, Option<u8>) {
        match self {
            Self::Stable { version } => (version, None),
            Self::Adding { old, new, .. } => (old, Some(new)),
            Self::Dropping { new, .. } => (new, None),
        }
    }

    /// When every process acts by this phase; `None` for a stable index, which waits for nothing.
    #[must_use]
    pub fn settled_at(self) -> Option<Timestamp> {
        match self {
            Self::Stable { .. } => None,
            Self::Adding { settled_at, .. } | Self::Dropping { settled_at, .. } => Some(settled_at),
        }
    }

    /// Whether every process acts by this phase at `now`.
    #[must_use]
    pub fn is_settled(self, now: Timestamp) -> bool {
        self.settled_at().is_none_or(|settled| now >= settled)
    }

    /// `stable`, `adding` or `dropping`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stable { .. } => "stable",
            Self::Adding { .. } => "adding",
            Self::Dropping { .. } => "dropping",
        }
    }

    /// The old and the new version while the index is rotated.
    pub(crate) fn rotation(self) -> Option<(u8, u8)> {
        match self {
            Self::Stable { .. } => None,
            Self::Adding { old, new, .. } | Self::Dropping { old, new, .. } => Some((old, new)),
        }
    }

    pub(crate) fn begin(self, settled_at: Timestamp) -> Result<Self, CryptoError> {
        let Self::Stable { version: old } = self else {
            return Err(CryptoError::IndexPhase(
                "a rotation begins from a stable index",
            ));
        };
        let new = old.checked_add(1).ok_or(CryptoError::IndexPhase(
            "version 255 is the last of an index",
        ))?;
        Ok(Self::Adding {
            old,
            new,
            settled_at,
        })
    }

    pub(crate) fn finish(
        self,
        scan: &IndexScan,
        now: Timestamp,
        settled_at: Timestamp,
    ) -> Result<Self, CryptoError> {
        let Self::Adding { old, new, .. } = self else {
            return Err(CryptoError::IndexPhase(
                "only a rotation that adds a version can finish",
            ));
        };
        self.check(scan, now)?;
        Ok(Self::Dropping {
            old,
            new,
            settled_at,
        })
    }

    pub(crate) fn retire(self, scan: &IndexScan, now: Timestamp) -> Result<Self, CryptoError> {
        let Self::Dropping { new, .. } = self else {
            return Err(CryptoError::IndexPhase(
                "only a rotation that drops a version can retire it",
            ));
        };
        self.check(scan, now)?;
        Ok(Self::Stable { version: new })
    }

    fn check(self, scan: &IndexScan, now: Timestamp) -> Result<(), CryptoError> {
        if let Some(settled_at) = self.settled_at()
            && now < settled_at
        {
            return Err(CryptoError::IndexUnsettled {
                settled_at,
                retry_after: settled_at.since(now),
            });
        }
        if !self.is_settled(scan.begun_at) {
            return Err(CryptoError::IndexScan(
                "it began before the phase was settled",
            ));
        }
        if scan.begun_at > now {
            return Err(CryptoError::IndexScan("it begins in the future"));
        }
        if scan.left > 0 {
            return Err(CryptoError::IndexScan("rows are left"));
        }
        Ok(())
    }
}

/// The index of a scope that was rotated: a line of its key record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredIndex {
    pub(crate) table: Box<str>,
    /// `None` for a compound.
    pub(crate) column: Option<Box<str>>,
    pub(crate) name: Box<str>,
    pub(crate) status: IndexStatus,
}

impl StoredIndex {
    pub(crate) fn new(index: &IndexDef, status: IndexStatus) -> Self {
        Self {
            table: index.table.as_str().into(),
            column: index.column().map(|column| column.as_str().into()),
            name: index.name.into(),
            status,
        }
    }

    pub(crate) fn is_of(&self, index: &IndexDef) -> bool {
        *self.table == *index.table.as_str()
            && self.column.as_deref() == index.column().map(|column| column.as_str())
            && *self.name == *index.name
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (&self.table, &self.column, &self.name) == (&other.table, &other.column, &other.name)
    }

    /// Checks what a stored line may say.
    pub(crate) fn check(&self) -> Result<(), CryptoError> {
        let named = [Some(&self.table), self.column.as_ref(), Some(&self.name)];
        if named
            .into_iter()
            .flatten()
            .any(|name| !(1..=64).contains(&name.len()))
        {
            return Err(CryptoError::Record("not the name of an index"));
        }
        let fits = match self.status {
            IndexStatus::Stable { version } => version > 0,
            IndexStatus::Adding { old, new, .. } | IndexStatus::Dropping { old, new, .. } => {
                old > 0 && old.checked_add(1) == Some(new)
            }
        };
        match fits {
            true => Ok(()),
            false => Err(CryptoError::Record("versions of an index do not follow")),
        }
    }
}

/// Where `index` stands by the lines of a key record: stable at its first version if it has none.
pub(crate) fn index_status(stored: &[StoredIndex], index: &IndexDef) -> IndexStatus {
    let line = stored.iter().find(|line| line.is_of(index));
    line.map_or(
        IndexStatus::Stable {
            version: index.version,
        },
        |line| line.status,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLED: Timestamp = Timestamp::from_seconds(1000);
    const LATER: Timestamp = Timestamp::from_seconds(2000);
    const CLEAN: IndexScan = IndexScan {
        begun_at: SETTLED,
        rows: 5,
        left: 0,
    };

    fn stable(version: u8) -> IndexStatus {
        IndexStatus::Stable { version }
    }

    #[test]
    fn a_rotation_goes_from_one_version_to_the_next() {
        let adding = stable(1).begin(SETTLED).unwrap();
        assert_eq!((adding.live(), adding.name()), ((1, Some(2)), "adding"));
        let dropping = adding.finish(&CLEAN, SETTLED, LATER).unwrap();
        assert_eq!((dropping.live(), dropping.name()), ((2, None), "dropping"));
        let scan = IndexScan {
            begun_at: LATER,
            ..CLEAN
        };
        assert_eq!(dropping.retire(&scan, LATER).unwrap(), stable(2));
        assert_eq!(stable(2).live(), (2, None));
    }

    #[test]
    fn a_stored_line_is_that_of_its_own_index_and_of_no_other() {
        use eonpro_core::phi::{Column, IndexPart, Normalizer, Table};
        const fn part(column: &'static str) -> IndexPart {
            IndexPart {
                column: Column::new(column),
                normalizer: Normalizer::Exact,
            }
        }
        let own = IndexDef {
            table: Table::new("patients"),
            name: "ssn",
            bits: 64,
            version: 1,
            parts: const { &[part("ssn")] },
        };
        let mut others = [own; 4];
        others[0].table = Table::new("visits");
        others[1].name = "other";
        others[2].parts = const { &[part("mrn")] };
        others[3].parts = const { &[part("ssn"), part("mrn")] };
        let lines = [StoredIndex::new(&own, stable(7))];
        assert_eq!(index_status(&lines, &own), stable(7));
        for other in &others {
            assert_eq!(index_status(&lines, other), stable(1), "{other:?}");
            assert!(!StoredIndex::new(other, stable(7)).is_same(&lines[0]));
        }
    }

    #[test]
    fn no_move_comes_out_of_turn() {
        let adding = stable(1).begin(SETTLED).unwrap();
        let dropping = adding.finish(&CLEAN, SETTLED, SETTLED).unwrap();
        for refused in [
            adding.begin(LATER),
            dropping.begin(LATER),
            stable(255).begin(LATER),
            stable(1).finish(&CLEAN, LATER, LATER),
            dropping.finish(&CLEAN, LATER, LATER),
            stable(1).retire(&CLEAN, LATER),
            adding.retire(&CLEAN, LATER),
        ] {
            assert!(
                matches!(refused, Err(CryptoError::IndexPhase(_))),
                "{refused:?}"
            );
        }
    }

    #[test]
    fn no_move_comes_before_its_time() {
        let adding = stable(1).begin(SETTLED).unwrap();
        let dropping = adding.finish(&CLEAN, SETTLED, SETTLED).unwrap();
        let early = SETTLED.minus(Duration::from_nanos(1));
        for refused in [
            adding.finish(&CLEAN, early, LATER),
            dropping.retire(&CLEAN, early),
        ] {
            let Err(CryptoError::IndexUnsettled {
                settled_at,
                retry_after,
            }) = refused
            else {
                panic!("{refused:?}");
            };
            assert_eq!(
                (settled_at, retry_after),
                (SETTLED, Duration::from_nanos(1))
            );
        }
    }

    #[test]
    fn a_scan_that_proves_nothing_moves_nothing() {
        let adding = stable(1).begin(SETTLED).unwrap();
        let dropping = adding.finish(&CLEAN, SETTLED, SETTLED).unwrap();
        let early = SETTLED.minus(Duration::from_nanos(1));
        for scan in [
            IndexScan {
                begun_at: early,
                ..CLEAN
            },
            IndexScan {
                begun_at: LATER.plus(Duration::from_nanos(1)),
                ..CLEAN
            },
            IndexScan { left: 1, ..CLEAN },
        ] {
            for refused in [
                adding.finish(&scan, LATER, LATER),
                dropping.retire(&scan, LATER),
            ] {
                assert!(
                    matches!(refused, Err(CryptoError::IndexScan(_))),
                    "{refused:?}"
                );
            }
        }
    }
}
