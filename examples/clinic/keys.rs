//! Step 7, first half: one clinic's keys are turned while its charts are read.

use std::sync::atomic::{AtomicBool, Ordering};

use eonpro::auth::{AuthExt as _, Resource as Target};
use eonpro::core::port::{KeyPurpose, SealScope};

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
    /// How many keys were replaced.
    pub keys: u64,
    /// How many charts were read meanwhile and afterwards.
    pub reads: u64,
    /// How many of them were wrong.
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
    let turned = AtomicBool::new(false);
    let turning = async {
        let keys = turn(site, &officer).await;
        turned.store(true, Ordering::SeqCst);
        keys
    };
    let reading = async {
        let (mut reads, mut wrong) = (0, 0);
        // To the end of the turning, and once more.
        loop {
            let last = turned.load(Ordering::SeqCst);
            let scope = clinic.enter(site).await?;
            for chart in charts {
                wrong += u64::from(!charts::opens(site, &scope, chart).await?);
                reads += 1;
            }
            if last {
                return Ok::<_, Failure>((reads, wrong));
            }
        }
    };
    let (keys, read) = futures_util::future::join(turning, reading).await;
    let (reads, mut wrong) = read?;
    let scope = clinic.enter(site).await?;
    for one in stored.iter().take(charts.len().max(1)) {
        wrong += u64::from(!documents::opens(site, &scope, one).await?);
    }
    Ok(Rotation { keys: keys?, reads, wrong })
}

async fn turn(site: &Site, officer: &crate::clinics::Member) -> Result<u64, Failure> {
    let scope = officer.arrive(site).await?.tenant_scope()?;
    site.foundation.auth().require(&scope, &GOVERN, &Target::none()).await?;
    let (encryption, of) = (site.foundation.encryption(), SealScope::from(&scope));
    let mut keys = 0;
    for purpose in PURPOSES {
        encryption.turn_epoch(scope.cx(), of, purpose).await?;
        keys += 1;
    }
    encryption.rewrap_keys(scope.cx(), of).await?;
    Ok(keys + 1)
}
