//! kill -9 in the middle of appends: every acknowledged entry is there exactly once, and nothing that
//! the crash left looks like tampering.
//!
//! Where there is strace, the kill comes as one write or sync begins, and syncs fail with EIO. Elsewhere the
//! child is killed from outside at any moment.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use eonpro_audit::{
    AuditConfig, AuditError, AuditLog as _, AuditParts, EmbeddedAudit, KeyFileSigner, LogId, Query,
    VerifyError, VerifyingKey, verify,
};
use eonpro_core::RequestContext;
use eonpro_core::component::Component as _;
use eonpro_core::entropy::SystemEntropy;
use eonpro_core::event::catalogue::phi;
use eonpro_core::event::{Code, Event, ObjectRef, Outcome};
use eonpro_core::id::{RowId, SubjectId};
use eonpro_core::port::{NoObserver, Signer as _};
use eonpro_core::task;
use eonpro_core::time::SystemClock;
use eonpro_redb::RedbKeyValue;
use eonpro_testkit::servers::{require, tool};
use eonpro_testkit::{Actors, RecordingAlerts, TestSealer, authority, context, scope, tenant_id};

const FOLDER: &str = "EONPRO_AUDIT_CRASH_FOLDER";
const ROUNDS: &str = "EONPRO_CRASH_ROUNDS";
const TASKS: u64 = 64;
const TENANTS: u64 = 3;
/// What a test run without the campaign does.
const SHORT: u64 = 8;

#[expect(clippy::disallowed_methods, reason = "the test talks to its child")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// An open log and the state that it keeps elsewhere, which survives kills as well.
struct Open {
    audit: EmbeddedAudit,
    state: Arc<RedbKeyValue>,
}

impl Open {
    async fn close(self) {
        self.audit.close().await;
        self.state.close().await;
    }
}

async fn open(folder: &Path) -> Open {
    let path = folder.join("state.redb");
    let state = task::blocking(move || RedbKeyValue::open(&path, Arc::new(SystemClock::new())));
    let state = Arc::new(state.await.unwrap().unwrap());
    let signer = KeyFileSigner::open_or_create(&folder.join("audit.key")).unwrap();
    let parts = AuditParts {
        state: state.clone(),
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(SystemEntropy::new()),
        sealer: TestSealer::ready_for(&[&scope(1), &scope(2), &scope(3)]),
        signer: Arc::new(signer),
        alerts: RecordingAlerts::new(),
        observer: Arc::new(NoObserver),
        authority: authority(),
    };
    let mut config = AuditConfig::default();
    config.segment_bytes = 256 * 1024;
    config.fill_bytes = 32 * 1024;
    config.checkpoint_every = 300;
    let audit = EmbeddedAudit::open(&folder.join("audit"), parts, config).await;
    Open {
        audit: audit.unwrap(),
        state,
    }
}

fn viewed() -> Arc<Event> {
    let (clock, entropy) = (SystemClock::new(), SystemEntropy::new());
    let viewed = phi::RecordViewed {
        patient: SubjectId::random(&entropy),
        resource: ObjectRef::new(Code::constant("patient"), RowId::random(&entropy)),
        record_source: Code::constant("local"),
    };
    Event::new(viewed, Outcome::Success, &clock, &entropy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the crash test; does nothing by itself"]
async fn child_appends_until_it_is_killed() {
    let Some(folder) = variable(FOLDER) else {
        return;
    };
    let Open {
        audit,
        state: _kept,
    } = open(Path::new(&folder)).await;
    let audit = Arc::new(audit);
    let (clock, entropy) = (SystemClock::new(), SystemEntropy::new());
    let tasks = (0..TASKS).map(|number| {
        let audit = Arc::clone(&audit);
        let tenant = u128::from(1 + number % TENANTS);
        let cx = context(tenant, Actors::Clinician, &clock, &entropy);
        task::start(async move {
            for _ in 0..u64::MAX {
                let event = viewed();
                let receipt = match audit.append(&cx, &event).await {
                    Ok(receipt) => receipt,
                    // Syncs fail on and on.
                    Err(AuditError::Poisoned | AuditError::Down | AuditError::NoRoom(_)) => return,
                    Err(error) => panic!("{error:?}"),
                };
                writeln!(
                    std::io::stdout().lock(),
                    "acknowledged {tenant} {} {} durably",
                    receipt.index,
                    event.id()
                )
                .unwrap();
            }
        })
    });
    for running in tasks.collect::<Vec<_>>() {
        running.await.unwrap();
    }
}

type Acknowledged = BTreeMap<(u128, u64), String>;

/// Tenant, index and event of a line of the child. The test harness may have begun the line.
fn acknowledgement(line: &str) -> Option<((u128, u64), String)> {
    let (_, words) = line.split_once("acknowledged ")?;
    // A line torn by the kill lacks its end.
    let mut words = words.strip_suffix(" durably")?.split(' ');
    let tenant = words.next()?.parse().ok()?;
    let index = words.next()?.parse().ok()?;
    Some(((tenant, index), words.next()?.to_owned()))
}

/// How a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Killed from outside once so many entries are acknowledged.
    Outside,
    /// Killed as the call of this number begins, in the thread that comes first to so many.
    Call { name: &'static str, number: u64 },
    /// One sync fails with EIO, or each from there on.
    Failing { number: u64, again: bool },
}

impl End {
    /// The end of a round: syncs and writes of batches, segments, checkpoints, in turn.
    fn of(round: u64, strace: bool) -> Self {
        let spread = 1 + round * 29 % 61;
        match round % 6 {
            _ if !strace => Self::Outside,
            0 => Self::Outside,
            1 | 3 => Self::Call {
                name: "pwrite64",
                number: spread,
            },
            2 => Self::Call {
                name: "fdatasync",
                number: spread,
            },
            4 => Self::Call {
                name: ["fsync", "rename"][usize::from(round % 12 > 6)],
                number: 1 + spread % 9,
            },
            _ => Self::Failing {
                number: spread,
                again: round % 12 > 6,
            },
        }
    }

    /// What strace is told.
    fn inject(self) -> Option<(String, String)> {
        let (calls, what) = match self {
            Self::Outside => return None,
            Self::Call { name, number } => (name, format!("signal=KILL:when={number}")),
            Self::Failing { number, again } => {
                let on = if again { "+" } else { "" };
                ("fdatasync", format!("error=EIO:when={number}{on}"))
            }
        };
        Some((format!("trace={calls}"), format!("inject={calls}:{what}")))
    }
}

fn start(folder: &Path, end: End) -> Child {
    let this = std::env::current_exe().unwrap();
    let mut command = match end.inject() {
        None => Command::new(this),
        Some((trace, inject)) => {
            let mut strace = Command::new("strace");
            // The child stays ours, so that it can be killed; strace goes aside.
            strace.args(["-D", "-f", "-qq", "-o", "/dev/null"]);
            strace.args(["-e", &trace, "-e", &inject]).arg(this);
            strace
        }
    };
    command
        .args(["crash::child_appends_until_it_is_killed", "--exact"])
        .args(["--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs the child to its `end`, or until it has acknowledged `enough` entries, kills it, and adds them to
/// `all`. Whether it ended by itself.
fn crash(folder: &Path, end: End, enough: u64, all: &mut Acknowledged) -> bool {
    let mut child = start(folder, end);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut count = 0;
    let mut take = |line: &str| {
        let Some((place, event)) = acknowledgement(line) else {
            return 0;
        };
        assert_eq!(all.insert(place, event), None, "one index was given twice");
        1
    };
    let mut by_itself = false;
    while count < enough {
        match lines.next() {
            Some(line) => count += take(&line.unwrap()),
            None => {
                assert_ne!(end, End::Outside, "the child died by itself");
                by_itself = true;
                break;
            }
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had still acknowledged before it died counts too.
    for line in lines.map_while(Result::ok) {
        take(&line);
    }
    by_itself
}

fn system() -> RequestContext {
    RequestContext::system("test", &SystemClock::new(), &SystemEntropy::new())
}

/// Every event of a tenant's log, by index.
async fn events(audit: &EmbeddedAudit, tenant: u128) -> Vec<String> {
    let log = LogId::Tenant(tenant_id(tenant));
    let mut events = Vec::new();
    loop {
        let from = events.len() as u64;
        let page = audit.read(&system(), &log, from..u64::MAX).await.unwrap();
        events.extend(page.iter().map(|view| view.entry().unwrap().id));
        // Each reading adds its own record: reading on until nothing comes would never end.
        if page.len() < AuditConfig::default().read_limit {
            return events;
        }
    }
}

/// The events of a tenant's log that the index knows, by index.
async fn indexed(audit: &EmbeddedAudit, tenant: u128, size: u64) -> Vec<(u64, String)> {
    let mut query = Query::new(LogId::Tenant(tenant_id(tenant)));
    query.code = Some(Code::constant("PHI-001"));
    query.limit = 1_000;
    query.size = Some(size);
    let mut found = Vec::new();
    let mut next = Some(query);
    while let Some(query) = next {
        let page = audit.query(&system(), &query).await.unwrap();
        let events = page.hits.iter();
        found.extend(events.map(|hit| (hit.view.index, hit.view.entry().unwrap().id)));
        next = query.next_page(&page);
    }
    found
}

async fn acknowledged_entries_survive(rounds: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Acknowledged::new();
    let (mut torn, mut hit) = (0, 0);
    let strace = require(tool("strace"), "strace", "strace").is_some();
    for round in 0..rounds {
        let end = End::of(round, strace);
        let enough = match end {
            End::Outside => 1 + round * 37 % 611,
            // If the call does not come, or the child goes on behind a failure.
            _ => 4_000,
        };
        hit += u64::from(crash(folder.path(), end, enough, &mut acknowledged));
        let signer = KeyFileSigner::open_or_create(&folder.path().join("audit.key")).unwrap();
        let key = VerifyingKey::from_bytes(signer.public_key());
        match verify(&folder.path().join("audit"), &[key]) {
            Ok(_) => {}
            Err(VerifyError::Unfinished { .. }) => torn += 1,
            Err(error) => panic!("round {round}: a crash looks like tampering: {error}"),
        }
        let open = open(folder.path()).await;
        let audit = &open.audit;
        let mut seen = HashSet::new();
        for tenant in 1..=u128::from(TENANTS) {
            let events = events(audit, tenant).await;
            let known = indexed(audit, tenant, events.len() as u64).await;
            let known: BTreeMap<u64, String> = known.into_iter().collect();
            for ((_, index), event) in acknowledged.range((tenant, 0)..=(tenant, u64::MAX)) {
                let found = usize::try_from(*index).ok().and_then(|at| events.get(at));
                assert_eq!(
                    found,
                    Some(event),
                    "round {round}: tenant {tenant} at {index}"
                );
                assert_eq!(
                    known.get(index),
                    Some(event),
                    "round {round}: the index misses {index} of tenant {tenant}"
                );
            }
            for event in events {
                assert!(seen.insert(event), "round {round}: an entry is there twice");
            }
        }
        audit.verify(&system()).await.unwrap();
        open.close().await;
    }
    let count = acknowledged.len();
    println!(
        "{rounds} kills, {hit} of them at a call: {count} acknowledged entries all there once, {torn} torn tails"
    );
    assert!(
        !strace || rounds < 6 || hit > rounds / 3,
        "strace hit {hit} of {rounds}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_entries_survive_a_few_kills() {
    acknowledged_entries_survive(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the campaign: cargo xtask crash"]
async fn acknowledged_entries_survive_the_campaign() {
    let rounds = variable(ROUNDS).map_or(100, |rounds| rounds.parse().unwrap());
    acknowledged_entries_survive(rounds).await;
}
