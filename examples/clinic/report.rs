//! What the run found out: as one JSON object, or as a page for people.

use serde_json::json;

/// The numbers of one run. A check that failed is listed in `failures`.
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

    /// Whether every check held.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
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
        let Self { tenants, patients, patient_records, resources, .. } = self;
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
            page.push_str(&format!("  input             {} lines skipped\n", self.lines_skipped));
        }
        match self.failures.as_slice() {
            [] => page.push_str("\n  Every check held.\n"),
            failures => {
                page.push_str("\n  FAILED\n");
                for failure in failures {
                    page.push_str(&format!("  - {failure}\n"));
                }
            }
        }
        page
    }
}
