//! The nine steps in their order, and what each must have come to.

use std::path::Path;
use std::sync::Arc;

use eonpro::core::id::{DocumentId, TenantId};
use eonpro::core::time::{Clock as _, SystemClock};
use eonpro::logger::{LogStats, Logger, Redaction};

use crate::args::Args;
use crate::charts::{self, Chart};
use crate::clinics::{self, Clinic};
use crate::dataset::{Dataset, Person};
use crate::documents::{self, Stored};
use crate::home::Home;
use crate::leaks::{self, Needles};
use crate::leaving::Kept;
use crate::log::ProcessLog;
use crate::report::Report;
use crate::site::{Failure, Site};
use crate::{complain, crossing, fhir, generate, keys, leaving, reading, trail};

/// The event of an infected upload.
const INFECTED: &str = "FILE-005";

/// What the restarted site needs to know of the first one's life.
struct Life {
    clinics: Vec<Arc<Clinic>>,
    charts: Vec<Chart>,
    stored: Vec<Stored>,
    left: Option<(TenantId, Kept)>,
    logger: Arc<dyn Logger>,
}

/// Does the whole job.
pub async fn run(args: &Args) -> Result<Report, Failure> {
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let dataset = match &args.fhir {
        Some(dir) => fhir::read(dir)?,
        None => generate::dataset(args.patients)?,
    };
    for skipped in &dataset.skipped {
        complain(&format!(
            "clinic: {}:{}: {}, skipped",
            skipped.file, skipped.line, skipped.why
        ));
    }
    let home = Home::make(args.data.as_deref())?;
    let dataset = Arc::new(dataset);
    let mut report = Report {
        patients: dataset.patients.len() as u64,
        lines_skipped: dataset.skipped.len() as u64,
        ..Report::default()
    };
    let log = ProcessLog::install()?;
    let life = first_life(home.path(), &dataset, &log, &mut report).await?;
    second_life(home.path(), &dataset, &life, &log, &mut report).await?;
    let dropped = life.logger.stats().dropped();
    report.check(dropped == 0, "lines went to a log that was closed");
    search_for_leaks(home.path(), &dataset, &mut report)?;
    report.peak_rss_mb = peak_rss_mb();
    home.leave().await?;
    // Last: the user waits for the removal too.
    report.seconds = clock.monotonic().since(began).as_secs_f64();
    Ok(report)
}

/// Steps 1 to 7, on a fresh foundation.
async fn first_life(
    dir: &Path,
    dataset: &Arc<Dataset>,
    log: &ProcessLog,
    report: &mut Report,
) -> Result<Life, Failure> {
    let site = Site::open(dir, Arc::clone(dataset)).await?;
    log.lead_to(&site)?;
    let tenants = clinics::onboard(&site).await?;
    report.tenants = tenants.len() as u64;
    let clinics = clinics::staff(&site, tenants).await?;

    let charts = charts::store(&site, &clinics).await?;
    report.patient_records = charts.len() as u64;
    report.resources = charts.iter().map(|chart| chart.resources as u64).sum();
    let all = report.resources == dataset.resources.len() as u64;
    report.check(all, "not every resource was stored");

    let (stored, refused) = documents::store(&site, &charts).await?;
    report.documents_stored = stored.len() as u64;
    for reason in refused {
        report.check(false, &reason);
    }
    let all = stored.len() == dataset.notes.len();
    report.check(all, "not every document was stored");
    if let Some(clinic) = clinics.first() {
        let closed = documents::infect(&site, clinic).await?;
        report.documents_quarantined = u64::from(closed);
    }

    let read = reading::run(&site, &charts, &stored).await?;
    (report.searches, report.search_hits) = (read.searches, read.hits);
    report.cache_hits = read.cache_hits;
    for fault in read.faults {
        report.check(false, &fault);
    }

    let crossing = crossing::run(&site, &clinics, &charts, &stored).await?;
    report.cross_tenant_attempts = crossing.attempts;
    report.cross_tenant_blocked = crossing.blocked;
    report.check(
        crossing.audited == crossing.attempts,
        "the audit trail does not have each attempt on another tenant once",
    );
    for fault in &crossing.open {
        report.check(false, fault);
    }

    let own = Own {
        charts: &charts,
        stored: &stored,
        placed: &crossing.placed,
    };
    let left = turn_and_leave(&site, &clinics, &own, report).await?;
    close(&site, log, report).await?;
    // Alerts are delivered after their entry; the log drains them before it closes.
    let infected = clinics.first().map(|clinic| clinic.tenant);
    report.check(
        infected.is_some() && site.pager.tenants(INFECTED) == [infected],
        "nobody was alerted to the infected file, or to something else",
    );
    let logger = Arc::clone(site.foundation.logger());
    for fault in unredacted(dataset, &logger.stats()) {
        report.check(false, fault);
    }
    Ok(Life {
        clinics,
        charts,
        stored,
        left,
        logger,
    })
}

/// Which kinds of values the careless lines had more of than were redacted.
fn unredacted(dataset: &Dataset, stats: &LogStats) -> Vec<&'static str> {
    type Value = fn(&Person) -> bool;
    let kinds: [(Redaction, Value, &'static str); 4] = [
        (
            Redaction::Ssn,
            |person| person.ssn.is_some(),
            "a carelessly logged SSN was not redacted",
        ),
        (
            Redaction::Mrn,
            |person| person.mrn.is_some(),
            "a carelessly logged MRN was not redacted",
        ),
        (
            Redaction::Phone,
            |person| person.phone.is_some(),
            "a carelessly logged phone number was not redacted",
        ),
        (
            Redaction::Date,
            |person| person.birth_date.is_some(),
            "a carelessly logged birth date was not redacted",
        ),
    ];
    let patients = dataset.patients.iter();
    let seen: Vec<_> = patients
        .filter(|person| !person.treated_by.is_empty())
        .collect();
    let fewer = kinds.into_iter().filter(|(kind, has, _)| {
        let logged = seen.iter().filter(|person| has(person)).count() as u64;
        stats.redacted(*kind) < logged
    });
    fewer.map(|(_, _, what)| what).collect()
}

/// What the clinics have.
struct Own<'a> {
    charts: &'a [Chart],
    stored: &'a [Stored],
    placed: &'a [(usize, DocumentId)],
}

impl Own<'_> {
    fn charts(&self, clinic: &Clinic) -> Vec<Chart> {
        let own = self.charts.iter();
        let own = own.filter(|chart| chart.clinic.organization == clinic.organization);
        own.cloned().collect()
    }

    fn stored(&self, clinic: &Clinic) -> Vec<Stored> {
        let own = self.stored.iter();
        let own = own.filter(|one| one.organization == clinic.organization);
        own.copied().collect()
    }

    fn placed(&self, clinic: &Clinic) -> Vec<DocumentId> {
        let own = self.placed.iter();
        let own = own.filter(|(organization, _)| *organization == clinic.organization);
        own.map(|(_, document)| *document).collect()
    }
}

/// Step 7: the first clinic's keys are turned, the last clinic leaves.
async fn turn_and_leave(
    site: &Arc<Site>,
    clinics: &[Arc<Clinic>],
    own: &Own<'_>,
    report: &mut Report,
) -> Result<Option<(TenantId, Kept)>, Failure> {
    if let Some(first) = clinics.first() {
        let rotation = keys::rotate(site, first, &own.charts(first), &own.stored(first)).await?;
        report.rotated_keys = rotation.keys;
        report.check(
            rotation.unread == 0,
            "nothing was read while a key was turned",
        );
        report.check(
            rotation.wrong == 0,
            "a chart or document was wrong while keys were turned",
        );
    }
    // A single clinic stays, so that something is left to come back to.
    // One with documents, so that there is a document to be closed.
    let with_documents = clinics.iter().rev().find(|one| !own.stored(one).is_empty());
    let leaving = with_documents.or(clinics.last());
    let Some(last) = leaving.filter(|_| clinics.len() > 1) else {
        return Ok(None);
    };
    let (charts, stored) = (own.charts(last), own.stored(last));
    let leaving = leaving::offboard(site, last, &charts, &stored, &own.placed(last)).await?;
    report.shredded_tenants = u64::from(leaving.open.is_empty());
    let tried = if stored.is_empty() { 5 } else { 6 };
    report.check(
        leaving.opened_before == tried,
        "not everything of the leaving clinic opened before its keys were shredded",
    );
    report.check(
        leaving.keys > 0,
        "no key of the leaving clinic was destroyed",
    );
    for what in leaving.open {
        report.check(
            false,
            &format!("{what} still opens after its keys were shredded"),
        );
    }
    let others = leaving::others_open(site, last.organization, own.charts, own.stored).await?;
    report.check(
        others,
        "another clinic's data does not open after one was shredded",
    );
    Ok(Some((last.tenant, leaving.kept)))
}

/// Ends a foundation and its log, and takes the last numbers.
async fn close(site: &Site, log: &ProcessLog, report: &mut Report) -> Result<(), Failure> {
    let foundation = &site.foundation;
    let health = foundation.health().await;
    report.check(health.is_ready(), "the foundation is not well");
    let missed: u64 = foundation
        .hub()
        .missed()
        .iter()
        .map(|missed| missed.events)
        .sum();
    report.check(missed == 0, "a listener missed events");
    let shutdown = foundation.shutdown().await;
    report.check(
        shutdown.is_clean(),
        "the foundation did not shut down cleanly",
    );
    log.rest()?;
    let stats = foundation.logger().stats();
    report.log_lines += stats.written;
    report.check(stats.dropped() == 0, "log lines were dropped");
    Ok(())
}

/// Step 8: everything again from disk, then the log alone, then a copy of it with one bit changed.
async fn second_life(
    dir: &Path,
    dataset: &Arc<Dataset>,
    life: &Life,
    log: &ProcessLog,
    report: &mut Report,
) -> Result<(), Failure> {
    let site = Site::open(dir, Arc::clone(dataset)).await?;
    log.lead_to(&site)?;
    let foundation = &site.foundation;
    let before = foundation.logger().stats().accepted;
    tracing::info!("back from disk");
    let logged = foundation.logger().stats().accepted > before;
    report.check(logged, "the restarted foundation's log takes no lines");
    let left = life.left.as_ref().map(|(tenant, _)| *tenant);
    let staying = life
        .clinics
        .iter()
        .find(|clinic| Some(clinic.tenant) != left);
    let clinic = staying.ok_or("no clinic is left")?;
    // The session survived; the development issuer did not, so the token is a new one.
    let scope = clinic.returning(&site)?.enter(&site).await?;
    let (mut opened, mut good) = (0, true);
    for chart in life
        .charts
        .iter()
        .filter(|one| one.clinic.tenant == clinic.tenant)
    {
        good &= charts::opens(&site, &scope, chart).await?;
        opened += 1;
    }
    let here = |one: &&Stored| one.organization == clinic.organization;
    for stored in life.stored.iter().filter(here).take(8) {
        good &= documents::opens(&site, &scope, stored).await?;
    }
    good &= opened > 0;
    report.check(good, "a chart or document did not open after the restart");
    if let Some((_, kept)) = &life.left {
        let closed = kept.stays_closed(&site).await?;
        report.check(closed, "a shredded clinic opens again after the restart");
    }

    let verified = foundation
        .audit()
        .verify(&foundation.chore("audit-check"))
        .await;
    report.check(verified.is_ok(), "the audit log does not verify");
    let mut entries = trail::entries(&site, clinic.tenant).await?;
    if entries.is_empty() {
        return Err("a clinic without an audit trail".into());
    }
    let victim = entries.swap_remove(entries.len() / 2);
    let expected = format!("{}#{}", victim.log, victim.index);
    let key = foundation.audit_key();
    close(&site, log, report).await?;

    let on_disk = trail::verify_on_disk(dir, key).await?;
    report.check(on_disk.signed, "the audit log's end is not signed");
    report.audit_verified = verified.is_ok() && on_disk.signed;
    report.audit_entries = on_disk.entries;
    report.audit_root = on_disk.root;
    report.tamper_detected_at = trail::tamper(dir, key, victim).await?;
    let named = report.tamper_detected_at == expected;
    report.check(named, "tampering was not named where the byte was flipped");
    Ok(())
}

/// Step 9: no value of any patient is anywhere in what was written.
fn search_for_leaks(dir: &Path, dataset: &Dataset, report: &mut Report) -> Result<(), Failure> {
    let needles = Needles::of(dataset)?;
    report.phi_values_searched = needles.values() as u64;
    let known = dataset
        .patients
        .iter()
        .find_map(|person| person.ssn.as_ref().or(person.mrn.as_ref()));
    match known {
        Some(value) => needles.control(dir, value.expose())?,
        None => report.check(false, "no patient has a number to plant as control value"),
    }
    let mut found = needles.search(dir)?;
    found.extend(leaks::births_in(&dir.join("logs"), dataset)?);
    report.phi_leaks = found.len() as u64;
    for leak in found.iter().take(20) {
        let file = leak.file.strip_prefix(dir).unwrap_or(&leak.file).display();
        report.check(
            false,
            &format!("PHI on disk: {file}, before byte {}", leak.offset),
        );
    }
    Ok(())
}

/// The most memory that this process ever had resident, in MiB; 0 where that is not known.
fn peak_rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0).div_ceil(1024)
}

#[cfg(test)]
mod tests {
    use eonpro::core::time::SystemClock;
    use eonpro::logger::{JsonLogger, LoggerConfig, LoggerParts};

    use super::*;

    /// The counters of a log of `lines`.
    fn stats(lines: &[&str]) -> LogStats {
        let parts = LoggerParts {
            clock: Arc::new(SystemClock::new()),
            schemas: Vec::new(),
            sinks: Vec::new(),
        };
        let (_layer, logger) = JsonLogger::start(LoggerConfig::default(), parts).unwrap();
        for line in lines {
            let _clean = logger.redactor().scan(line);
        }
        logger.stats()
    }

    #[test]
    fn each_kind_of_careless_value_must_be_redacted_and_none_stands_for_another() {
        let dataset = generate::dataset(1).unwrap();
        let all = [
            "SSN 999-12-3456",
            "MRN 77-1234",
            "phone 555-123-4567",
            "born 1969-05-04",
        ];
        assert_eq!(unredacted(&dataset, &stats(&all)), Vec::<&str>::new());
        for (left_out, kind) in ["SSN", "MRN", "phone number", "birth date"]
            .iter()
            .enumerate()
        {
            let mut lines = all.to_vec();
            lines.remove(left_out);
            // As many redactions in all as there were values.
            lines.push(all[(left_out + 1) % all.len()]);
            let expected = format!("a carelessly logged {kind} was not redacted");
            assert_eq!(unredacted(&dataset, &stats(&lines)), [expected]);
        }
    }

    #[test]
    fn of_somebody_whom_nobody_called_nothing_must_be_redacted() {
        let mut dataset = generate::dataset(1).unwrap();
        dataset.patients[0].treated_by.clear();
        assert_eq!(unredacted(&dataset, &stats(&[])), Vec::<&str>::new());
    }
}
