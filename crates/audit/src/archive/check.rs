//! The daily sample: whether what the manifest lists is still there, as it was.

use std::collections::BTreeSet;
use std::time::Duration;

use eonpro_core::entropy::{Entropy as _, SeededEntropy};
use eonpro_core::event::{Digest, Outcome};
use eonpro_core::port::{Operation, Timer};
use eonpro_core::time::Timestamp;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::error::ArchiveError;
use super::events;
use super::manifest::{Page, Row};
use super::service::Archive;

const CHECK: Operation = Operation::new("audit", "archive_check");

/// How far the store's clock may be from ours.
const CLOCKS: Duration = Duration::from_secs(60 * 60);

/// What is wrong with an archived object.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectFault {
    /// The version that was archived is not there.
    Missing,
    /// It has other bytes, or another length.
    Bytes,
    /// The store gives it another entity tag, though its bytes are the same: it was written again.
    Tag,
    /// A newer version has been put over it. The archived one is still there.
    Superseded,
    /// A delete marker, or whatever hides it, has been put over it. The archived one is still there.
    Hidden,
    /// Its lock is gone, or ends earlier than it did.
    Unlocked,
}

impl ObjectFault {
    /// The kind that AUD-006 calls it.
    fn kind(self) -> &'static str {
        match self {
            Self::Missing | Self::Bytes => "tile",
            Self::Tag | Self::Superseded | Self::Hidden | Self::Unlocked => "version",
        }
    }
}

/// An archived object that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name below the archive's prefix.
    pub key: String,
    /// What is wrong with it.
    pub fault: ObjectFault,
    /// SHA-256 of what was archived.
    pub expected: Digest,
    /// SHA-256 of what is there, if it was read.
    pub found: Option<Digest>,
}

/// What a check found.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// How many rows the manifest has.
    pub rows: u64,
    /// How many of them were checked.
    pub checked: u64,
    /// What is not as it was.
    pub findings: Vec<Finding>,
}

impl Archive {
    /// Checks at most `count` objects of the manifest, picked by `seed`: each is read in its version and
    /// compared, and the present version must be that one. Every finding is recorded as AUD-006, which is
    /// also an alert. The same seed picks the same rows while the manifest does not grow: take another each day.
    ///
    /// Where the store gives no versions only the present object is compared. Locks are seen only by a
    /// [`LockProbe`](super::LockProbe).
    ///
    /// # Errors
    /// [`ArchiveError::Store`], [`ArchiveError::State`], [`ArchiveError::Audit`] if a finding could not be
    /// recorded: what was found is lost then, and the check is to be repeated.
    pub async fn check_sample(&self, count: u64, seed: u64) -> Result<Checked, ArchiveError> {
        let timer = Timer::start(CHECK, self.clock(), &*self.observer);
        timer.end(self.check(count, seed).await)
    }

    async fn check(&self, count: u64, seed: u64) -> Result<Checked, ArchiveError> {
        let pages = self.state.pages().await?;
        let mut checked = Checked {
            rows: pages.iter().map(|page| page.rows).sum(),
            ..Checked::default()
        };
        let picked = pick(checked.rows, count, seed);
        let mut first = 0;
        for known in &pages {
            let next = first + known.rows;
            let wanted: Vec<u64> = picked.range(first..next).map(|at| at - first).collect();
            first = next;
            if wanted.is_empty() {
                continue;
            }
            checked.checked += wanted.len() as u64;
            let mut findings = self.check_object(&known.row).await?;
            // Findings about the page itself make its rows unreadable, or not.
            let found = self
                .shelf
                .get(&known.row.key, known.row.version.as_deref())
                .await?;
            let page = found.filter(|(_, stored)| stored.sha256 == known.row.sha256);
            if let Some(page) = page.and_then(|(bytes, _)| Page::parse(&bytes)) {
                let rows = wanted.iter().filter_map(|at| {
                    let at = usize::try_from(*at).ok()?;
                    page.rows.get(at)
                });
                let checks = rows.map(|row| self.check_object(row));
                let checks = stream::iter(checks).buffered(self.config.parallel);
                let more: Vec<Vec<Finding>> = checks.try_collect().await?;
                findings.extend(more.into_iter().flatten());
            }
            checked.findings.extend(findings);
        }
        let mut told = BTreeSet::new();
        let new = |finding: &Finding| told.insert((finding.key.clone(), finding.fault as u8));
        checked.findings.retain(new);
        for finding in &checked.findings {
            let kind = finding.fault.kind();
            let expected = Some(finding.expected);
            let event = events::object(&finding.key, kind, expected, finding.found);
            self.log.note(event, Outcome::Serious).await?;
        }
        Ok(checked)
    }

    async fn check_object(&self, row: &Row) -> Result<Vec<Finding>, ArchiveError> {
        let mut findings = Vec::new();
        let mut find = |fault, found| {
            findings.push(Finding {
                key: row.key.clone(),
                fault,
                expected: row.sha256,
                found,
            });
        };
        let version = row.version.as_deref();
        let there = match self.shelf.get(&row.key, version).await {
            Ok(there) => there,
            // Longer than any object of ours.
            Err(ArchiveError::Changed(_)) => {
                find(ObjectFault::Bytes, None);
                return Ok(findings);
            }
            Err(error) => return Err(error),
        };
        match there {
            None => find(ObjectFault::Missing, None),
            Some((_, stored)) if (stored.size, stored.sha256) != (row.size, row.sha256) => {
                find(ObjectFault::Bytes, Some(stored.sha256));
            }
            Some((_, stored)) if row.e_tag.is_some() && stored.e_tag != row.e_tag => {
                find(ObjectFault::Tag, Some(stored.sha256));
            }
            Some(_) => {}
        }
        if let Some(version) = version {
            match self.shelf.head(&row.key).await? {
                None => find(ObjectFault::Hidden, None),
                Some(meta) if meta.version.as_deref() != Some(version) => {
                    find(ObjectFault::Superseded, None);
                }
                Some(_) => {}
            }
            if let Some(probe) = &self.lock {
                let lock = probe.object_lock(&row.key, version).await;
                let lock = lock.map_err(ArchiveError::Store)?;
                let firm = self.config.require_lock.map(|required| required.mode);
                let soft = |mode| firm.is_some_and(|firm| mode < firm);
                let short = |until: Timestamp| {
                    let until = until.plus(CLOCKS);
                    row.retain_until.is_some_and(|promised| until < promised)
                };
                let loose = match lock {
                    None => row.retain_until.is_some() || firm.is_some(),
                    Some(lock) => soft(lock.mode) || short(lock.until),
                };
                if loose {
                    find(ObjectFault::Unlocked, None);
                }
            }
        }
        Ok(findings)
    }
}

/// `count` different numbers below `rows`, or all of them.
fn pick(rows: u64, count: u64, seed: u64) -> BTreeSet<u64> {
    if count >= rows {
        return (0..rows).collect();
    }
    let entropy = SeededEntropy::new(seed);
    let mut picked = BTreeSet::new();
    // Floyd's way: each subset is as likely as every other, and it always ends.
    for last in rows - count..rows {
        let mut bytes = [0; 8];
        entropy.fill(&mut bytes);
        let at = u64::from_le_bytes(bytes) % (last + 1);
        if !picked.insert(at) {
            picked.insert(last);
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_as_many_rows_as_asked_and_every_row_has_its_turn() {
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let picked = pick(20, 3, seed);
            assert_eq!(picked.len(), 3);
            assert_eq!(picked, pick(20, 3, seed));
            seen.extend(picked);
        }
        assert_eq!(seen, (0..20).collect());
        assert_eq!(pick(3, 10, 1), (0..3).collect());
        assert!(pick(0, 10, 1).is_empty());
    }
}
