//! The suite of `AuditLog`, each check in a schema of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use eonpro_audit::AuditLog;
use eonpro_core::time::SharedClock;
use eonpro_postgres::{PgConfig, migrate};
use eonpro_testkit::conformance::audit::{Subject, checks, suite};
use futures_util::FutureExt as _;

use crate::audit_bed::AuditBed;
use crate::bed;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_audit_log_conforms() {
    let Some(server) = bed::server().await else {
        return;
    };
    let server = Arc::new(server);
    let number = AtomicUsize::new(0);
    let report = suite(async |clock: SharedClock| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let config = PgConfig {
            schema: format!("audit_{number}"),
            connections: 4,
            ..bed::config(&server)
        };
        migrate(&config).await.unwrap();
        let (bed, config) = (Arc::new(AuditBed::with(clock)), Arc::new(config));
        let key = bed.key();
        let open = move || {
            let (bed, config) = (Arc::clone(&bed), Arc::clone(&config));
            async move { bed.open(&config).await as Arc<dyn AuditLog> }.boxed()
        };
        Subject::new(open().await, vec![key], open.clone()).shared_by(open)
    })
    .await;
    report.assert_conforms();
    assert_eq!(report.passed.len(), checks().count());
}
