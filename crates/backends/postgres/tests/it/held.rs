//! Another session that holds the counters of all partitions.

use eonpro_core::time::{Clock as _, SystemClock};
use eonpro_testkit::Postgres;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Holds the counters of all partitions until it is dropped.
#[derive(Debug)]
pub(crate) struct Held(Child);

impl Held {
    pub(crate) async fn new(server: &Postgres) -> Self {
        let mut psql = Command::new("/usr/lib/postgresql/15/bin/psql")
            .env("PGPASSWORD", Postgres::PASSWORD)
            .args([
                "-X",
                "-q",
                "-h",
                "127.0.0.1",
                "-p",
                &server.port().to_string(),
            ])
            .args(["-U", Postgres::OWNER, "-d", Postgres::DATABASE])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let hold = "BEGIN; \
            SELECT 1 FROM eonpro.kv_partition FOR UPDATE; SELECT pg_advisory_lock(43);\n";
        psql.stdin
            .as_mut()
            .unwrap()
            .write_all(hold.as_bytes())
            .unwrap();
        let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 43";
        until(server, held, "1").await;
        Self(psql)
    }

    pub(crate) async fn until_somebody_waits(&self, server: &Postgres) {
        let waiting = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted";
        until(server, waiting, "t").await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// Waits until a query has that answer.
pub(crate) async fn until(server: &Postgres, sql: &str, expected: &str) {
    let clock = SystemClock::new();
    let end = clock.monotonic().plus(Duration::from_secs(60));
    while server.sql(sql).unwrap() != expected {
        assert!(clock.monotonic() < end, "{sql} is not {expected}");
        let pause = clock.monotonic().plus(Duration::from_millis(20));
        clock.sleep_until(pause).await;
    }
}
