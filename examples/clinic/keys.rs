//! Step 7, first half: one clinic's keys are turned while its charts are read.

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
    /// How many charts were read while a key was turned.
    pub reads: u64,
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
    let mut rotation = Rotation::default();
    // One at a time, so that there are readers under way at each of them.
    for purpose in PURPOSES.map(Some).into_iter().chain([None]) {
        let turning = turn(site, &officer, purpose);
        let reading = wrong_charts(site, clinic, charts);
        let (turned, wrong) = futures_util::future::try_join(turning, reading).await?;
        rotation.keys += u64::from(turned.old != turned.new);
        rotation.reads += charts.len() as u64;
        rotation.wrong += wrong;
    }
    rotation.wrong += wrong_charts(site, clinic, charts).await?;
    let scope = clinic.enter(site).await?;
    for one in stored.iter().take(charts.len().max(1)) {
        rotation.wrong += u64::from(!documents::opens(site, &scope, one).await?);
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
        Some(purpose) => encryption.turn_epoch(officer.cx(), of, purpose).await?,
        None => encryption.rewrap_keys(officer.cx(), of).await?,
    })
}

async fn wrong_charts(site: &Site, clinic: &Clinic, charts: &[Chart]) -> Result<u64, Failure> {
    let scope = clinic.enter(site).await?;
    let mut wrong = 0;
    for chart in charts {
        wrong += u64::from(!charts::opens(site, &scope, chart).await?);
    }
    Ok(wrong)
}
