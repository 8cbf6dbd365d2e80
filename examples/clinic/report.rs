//! What the run found out: as one JSON object, or as a page for people.

use serde_json::json;

/// What each tenant reaches for in the next: a patient, a document, a session, a cache entry.
const ATTEMPTS: u64 = 4;

/// The numbers of one run. Of the checks, `failures` lists those that failed.
#[derive(Debug, Default)]
pub struct Report {
    pub tenants: u64,
    pub patients: u64,
    pub patient_records: u64,
    pub resources: u64,
    pub documents_stored: u64,
    pub documents_quarantined: u64,
    pub searches: u64,
    pub search_hits: u64,
    pub cache_hits: u64,
    pub cross_tenant_attempts: u64,
    pub cross_tenant_blocked: u64,
    pub rotated_keys: u64,
    pub shredded_tenants: u64,
    pub audit_entries: u64,
    pub audit_root: String,
    pub audit_verified: bool,
    pub tamper_detected_at: String,
    pub phi_values_searched: u64,
    pub phi_leaks: u64,
    pub log_lines: u64,
    pub lines_skipped: u64,
    pub peak_rss_mb: u64,
    pub seconds: f64,
    pub failures: Vec<String>,
}

impl Report {
    /// Notes that a check did not hold.
    pub fn check(&mut self, holds: bool, what: &str) {
        if !holds {
            self.failures.push(what.to_owned());
        }
    }

    /// Everything that did not hold: the checks that failed, and what the numbers tell by themselves.
    /// A step that did nothing was right about nothing, so it counts as one that failed.
    pub fn faults(&self) -> Vec<String> {
        let refused = self.cross_tenant_blocked == self.cross_tenant_attempts;
        let told = [
            (self.tenants > 0, "no tenant was onboarded"),
            (self.patient_records > 0, "no patient record was stored"),
            (
                self.documents_quarantined == 1,
                "the infected file is not closed",
            ),
            (self.searches > 0, "nothing was searched for"),
            (
                self.search_hits >= self.searches,
                "a search did not find anything",
            ),
            (self.cache_hits > 0, "the cache answered nothing"),
            (
                self.tenants > 1 && self.cross_tenant_attempts == ATTEMPTS * self.tenants,
                "not every tenant tried to reach into another, which takes two of them",
            ),
            (
                refused,
                "an attempt on another tenant was not refused or not audited",
            ),
            (self.rotated_keys > 0, "no key was turned"),
            (self.shredded_tenants == 1, "no tenant was shredded"),
            (self.audit_entries > 0, "the audit log has no entries"),
            (!self.audit_root.is_empty(), "the audit log has no root"),
            (self.audit_verified, "the audit log does not verify"),
            (
                !self.tamper_detected_at.is_empty(),
                "nothing was tampered with",
            ),
            (self.phi_values_searched > 0, "there was no PHI to look for"),
            (self.phi_leaks == 0, "PHI is on disk"),
            (self.log_lines > 0, "nothing was logged"),
        ];
        let told = told.iter().filter(|(holds, _)| !holds);
        let told = told.map(|(_, what)| (*what).to_owned());
        self.failures.iter().cloned().chain(told).collect()
    }

    /// Whether every check held.
    pub fn is_good(&self) -> bool {
        self.faults().is_empty()
    }

    /// One JSON object.
    pub fn json(&self) -> String {
        json!({
            "tenants": self.tenants,
            "patients": self.patients,
            "patient_records": self.patient_records,
            "resources": self.resources,
            "documents_stored": self.documents_stored,
            "documents_quarantined": self.documents_quarantined,
            "searches": self.searches,
            "search_hits": self.search_hits,
            "cache_hits": self.cache_hits,
            "cross_tenant_attempts": self.cross_tenant_attempts,
            "cross_tenant_blocked": self.cross_tenant_blocked,
            "rotated_keys": self.rotated_keys,
            "shredded_tenants": self.shredded_tenants,
            "audit_entries": self.audit_entries,
            "audit_root": self.audit_root,
            "audit_verified": self.audit_verified,
            "tamper_detected_at": self.tamper_detected_at,
            "phi_values_searched": self.phi_values_searched,
            "phi_leaks": self.phi_leaks,
            "log_lines": self.log_lines,
            "peak_rss_mb": self.peak_rss_mb,
            "seconds": (self.seconds * 1000.0).round() / 1000.0,
        })
        .to_string()
    }

    /// A page for people.
    pub fn page(&self) -> String {
        let Self {
            tenants,
            patients,
            patient_records,
            resources,
            ..
        } = self;
        let mut page = format!(
            "
  tenants           {tenants}
  patients          {patients} in {patient_records} records, {resources} clinical resources
  documents         {} stored, {} quarantined
  searches          {} with {} hits; {} cache hits
  other tenants     {} attempts, {} refused and audited
  keys              {} rotated, {} tenant shredded
  audit             {} entries, verified: {}
                    root {}
                    flipped byte named at {}
  PHI               {} values searched for, {} found; {} log lines
  run               {:.1} s, {} MB at most
",
            self.documents_stored,
            self.documents_quarantined,
            self.searches,
            self.search_hits,
            self.cache_hits,
            self.cross_tenant_attempts,
            self.cross_tenant_blocked,
            self.rotated_keys,
            self.shredded_tenants,
            self.audit_entries,
            if self.audit_verified { "yes" } else { "NO" },
            self.audit_root,
            self.tamper_detected_at,
            self.phi_values_searched,
            self.phi_leaks,
            self.log_lines,
            self.seconds,
            self.peak_rss_mb,
        );
        if self.lines_skipped > 0 {
            page.push_str(&format!(
                "  input             {} lines skipped\n",
                self.lines_skipped
            ));
        }
        match self.faults().as_slice() {
            [] => page.push_str("\n  Every check held.\n"),
            faults => {
                page.push_str("\n  FAILED\n");
                for fault in faults {
                    page.push_str(&format!("  - {fault}\n"));
                }
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn good() -> Report {
        Report {
            tenants: 2,
            patients: 3,
            patient_records: 4,
            resources: 5,
            documents_stored: 6,
            documents_quarantined: 1,
            searches: 8,
            search_hits: 9,
            cache_hits: 10,
            cross_tenant_attempts: 8,
            cross_tenant_blocked: 8,
            rotated_keys: 6,
            shredded_tenants: 1,
            audit_entries: 14,
            audit_root: "c0ffee".to_owned(),
            audit_verified: true,
            tamper_detected_at: "log#7".to_owned(),
            phi_values_searched: 17,
            phi_leaks: 0,
            log_lines: 19,
            lines_skipped: 20,
            peak_rss_mb: 21,
            seconds: 1.234_567,
            failures: Vec::new(),
        }
    }

    #[test]
    fn a_run_in_which_every_check_held_is_good() {
        assert_eq!(good().faults(), Vec::<String>::new());
        assert!(good().is_good());
        assert!(good().page().ends_with("Every check held.\n"));
    }

    #[test]
    fn the_json_object_has_exactly_the_fields_that_are_promised() {
        let json: Value = serde_json::from_str(&good().json()).unwrap();
        let mut promised = [
            "tenants",
            "patients",
            "patient_records",
            "resources",
            "documents_stored",
            "documents_quarantined",
            "searches",
            "search_hits",
            "cache_hits",
            "cross_tenant_attempts",
            "cross_tenant_blocked",
            "rotated_keys",
            "shredded_tenants",
            "audit_entries",
            "audit_root",
            "audit_verified",
            "tamper_detected_at",
            "phi_values_searched",
            "phi_leaks",
            "log_lines",
            "peak_rss_mb",
            "seconds",
        ];
        promised.sort_unstable();
        let mut fields: Vec<&str> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        fields.sort_unstable();
        assert_eq!(fields, promised);
    }

    #[test]
    fn the_json_object_has_the_numbers_of_the_run() {
        let json: Value = serde_json::from_str(&good().json()).unwrap();
        assert_eq!(json["documents_stored"], 6);
        assert_eq!(json["search_hits"], 9);
        assert_eq!(json["audit_verified"], true);
        assert_eq!(json["tamper_detected_at"], "log#7");
        assert_eq!(json["seconds"], 1.235);
    }

    #[test]
    fn the_json_object_is_one_line() {
        assert!(!good().json().contains('\n'));
    }

    #[test]
    fn a_check_that_failed_makes_the_run_not_good_and_is_named() {
        let mut report = good();
        report.check(true, "this held");
        assert!(report.is_good());
        report.check(false, "this did not hold");
        assert!(!report.is_good());
        assert_eq!(report.faults(), ["this did not hold"]);
        assert!(report.page().contains("FAILED\n  - this did not hold\n"));
    }

    #[test]
    fn a_run_that_did_nothing_is_not_good() {
        assert!(!Report::default().is_good());
    }

    #[test]
    fn each_step_that_did_nothing_or_went_wrong_is_one_fault() {
        type Spoil = fn(&mut Report);
        let spoil: [(&str, Spoil); 17] = [
            ("patient_records", |report| report.patient_records = 0),
            ("infected file open", |report| {
                report.documents_quarantined = 0;
            }),
            ("search_hits", |report| report.search_hits = 7),
            ("cache_hits", |report| report.cache_hits = 0),
            ("a tenant did not try", |report| {
                (report.cross_tenant_attempts, report.cross_tenant_blocked) = (4, 4);
            }),
            ("nobody tried", |report| {
                (report.cross_tenant_attempts, report.cross_tenant_blocked) = (0, 0);
            }),
            ("one tenant", |report| {
                report.tenants = 1;
                (report.cross_tenant_attempts, report.cross_tenant_blocked) = (4, 4);
            }),
            ("one went through", |report| report.cross_tenant_blocked = 7),
            ("rotated_keys", |report| report.rotated_keys = 0),
            ("shredded_tenants", |report| report.shredded_tenants = 0),
            ("audit_entries", |report| report.audit_entries = 0),
            ("audit_root", |report| report.audit_root.clear()),
            ("audit_verified", |report| report.audit_verified = false),
            ("tamper", |report| report.tamper_detected_at.clear()),
            ("phi_values", |report| report.phi_values_searched = 0),
            ("phi_leaks", |report| report.phi_leaks = 1),
            ("log_lines", |report| report.log_lines = 0),
        ];
        for (what, spoil) in spoil {
            let mut report = good();
            spoil(&mut report);
            assert_eq!(report.faults().len(), 1, "{what}: {:?}", report.faults());
            assert!(!report.is_good(), "{what}");
        }
    }

    #[test]
    fn a_run_without_tenants_or_searches_is_not_good() {
        for spoil in [(|report| report.tenants = 0) as fn(&mut Report), |report| {
            (report.searches, report.search_hits) = (0, 0)
        }] {
            let mut report = good();
            spoil(&mut report);
            assert!(!report.is_good());
        }
    }

    #[test]
    fn skipped_lines_are_told_and_are_no_fault() {
        assert!(good().page().contains("20 lines skipped"));
        assert!(good().is_good());
    }
}
