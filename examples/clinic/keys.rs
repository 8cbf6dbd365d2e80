//! Step 7, first half: one clinic's keys are turned while its charts and documents are read.

use std::sync::atomic::{AtomicBool, Ordering};

use eonpro::auth::{AuthExt as _, Resource as Target};
use eonpro::core::TenantScope;
use eonpro::core::port::{KeyPurpose, SealScope};
use eonpro::encryption::KeyTurned;

use crate::charts::{self, Chart};
use crate::clinics::Clinic;
use crate::documents::{self, Stored};
use crate::site::{Failure, GOVERN, Site};

/// The purposes that get a new epoch.
const PURPOSES: [KeyPurpose; 5] = [
    KeyPurpose::RECORDS,
    KeyPurpose::FILES,
    KeyPurpose::CACHE,
    KeyPurpose::AUDIT,
    KeyPurpose::STATE,
];

/// What came of it.
#[derive(Debug, Default)]
pub struct Rotation {
    /// How many keys were replaced by others.
    pub keys: u64,
    /// How many keys were turned without anything being read meanwhile.
    pub unread: u64,
    /// How many charts and documents were wrong then or afterwards.
    pub wrong: u64,
}

/// Turns the keys of `clinic`, whose charts and documents these are.
pub async fn rotate(
    site: &Site,
    clinic: &Clinic,
    charts: &[Chart],
    stored: &[Stored],
) -> Result<Rotation, Failure> {
    let officer = clinic.officer(site, "key-officer").await?;
    let officer = officer.arrive(site).await?.tenant_scope()?;
    let auth = site.foundation.auth();
    auth.require(&officer, &GOVERN, &Target::none()).await?;
    let (charts, documents) = (Shelf::Charts(charts), Shelf::Documents(stored));
    let scope = &clinic.enter(site).await?;
    let mut rotation = Rotation::default();
    // One at a time, so that there is a reader under way at each of them.
    for purpose in PURPOSES.map(Some).into_iter().chain([None]) {
        let of_files = purpose == Some(KeyPurpose::FILES) && !stored.is_empty();
        let shelf = if of_files { &documents } else { &charts };
        let read = |turn| async move { Ok(!shelf.opens(site, scope, turn).await?) };
        let (turned, read) = meanwhile(turn(site, &officer, purpose), read).await?;
        rotation.keys += u64::from(turned.old != turned.new);
        rotation.unread += u64::from(read.begun == 0);
        rotation.wrong += read.wrong;
    }
    for turn in 0..charts.len() {
        rotation.wrong += u64::from(!charts.opens(site, scope, turn).await?);
    }
    for turn in 0..documents.len().min(charts.len()) {
        rotation.wrong += u64::from(!documents.opens(site, scope, turn).await?);
    }
    Ok(rotation)
}

/// Begins a new epoch for `purpose`, or without one wraps all keys anew.
async fn turn(
    site: &Site,
    officer: &TenantScope,
    purpose: Option<KeyPurpose>,
) -> Result<KeyTurned, Failure> {
    let (encryption, of) = (site.foundation.encryption(), SealScope::from(officer));
    Ok(match purpose {
        Some(purpose) => {
            encryption
                .turn_epoch(officer.cx(), of, purpose.into())
                .await?
        }
        None => encryption.rewrap_keys(officer.cx(), of).await?,
    })
}

/// What there is to read.
enum Shelf<'a> {
    Charts(&'a [Chart]),
    Documents(&'a [Stored]),
}

impl Shelf<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Charts(charts) => charts.len(),
            Self::Documents(stored) => stored.len(),
        }
    }

    /// Whether the thing whose turn it is opens and is what was stored. They take turns for ever.
    async fn opens(&self, site: &Site, scope: &TenantScope, turn: usize) -> Result<bool, Failure> {
        let at = turn % self.len().max(1);
        match self {
            Self::Charts(charts) => {
                let chart = charts.get(at).ok_or("a clinic without a patient")?;
                charts::opens(site, scope, chart).await
            }
            Self::Documents(stored) => {
                let one = stored.get(at).ok_or("a clinic without a document")?;
                documents::opens(site, scope, one).await
            }
        }
    }
}

/// What was read while something else went on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Meanwhile {
    /// How many reads began after it had begun and before it had ended.
    begun: u64,
    /// How many of them were wrong.
    wrong: u64,
}

/// Does `work`, and as long as it is under way one `read` after the other, which says whether it
/// was wrong.
async fn meanwhile<T, R>(
    work: impl Future<Output = Result<T, Failure>>,
    read: impl Fn(usize) -> R,
) -> Result<(T, Meanwhile), Failure>
where
    R: Future<Output = Result<bool, Failure>>,
{
    let under_way = AtomicBool::new(false);
    let working = async {
        under_way.store(true, Ordering::SeqCst);
        let done = work.await;
        under_way.store(false, Ordering::SeqCst);
        done
    };
    let reading = async {
        let mut seen = Meanwhile::default();
        // Polled after the work, which then waits for a disk or is done.
        for turn in 0.. {
            if !under_way.load(Ordering::SeqCst) {
                break;
            }
            seen.begun += 1;
            seen.wrong += u64::from(read(turn).await?);
        }
        Ok(seen)
    };
    futures_util::future::try_join(working, reading).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    async fn pauses(count: usize) -> Result<(), Failure> {
        for _ in 0..count {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    #[tokio::test]
    async fn reads_go_on_until_the_work_has_ended() {
        let turns = AtomicUsize::new(0);
        let read = |turn: usize| {
            assert_eq!(turns.fetch_add(1, Ordering::SeqCst), turn);
            async move { pauses(1).await.map(|()| turn == 1) }
        };
        let ((), seen) = meanwhile(pauses(5), read).await.unwrap();
        assert!(seen.begun >= 3, "{seen:?}");
        assert_eq!(seen.wrong, 1);
        assert_eq!(turns.into_inner() as u64, seen.begun);
    }

    #[tokio::test]
    async fn a_read_that_lasts_longer_than_the_work_began_during_it() {
        let ((), seen) = meanwhile(pauses(1), |_| async { pauses(9).await.map(|()| false) })
            .await
            .unwrap();
        assert_eq!(seen, Meanwhile { begun: 1, wrong: 0 });
    }

    #[tokio::test]
    async fn nothing_is_counted_as_read_during_work_that_was_over_at_once() {
        let ((), seen) = meanwhile(pauses(0), |_| async { Ok(true) }).await.unwrap();
        assert_eq!(seen, Meanwhile::default());
    }
}
