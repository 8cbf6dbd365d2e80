//! The audit log in PostgreSQL: shared by processes, in the same format as the embedded one.
//!
//! One session of the database sequences at a time; the others reach it through the outbox, as staged
//! entries of applications do. See `docs/formats/audit.md`, "In PostgreSQL".

mod alerts;
mod database;
mod found;
mod proofs;
mod queue;
mod reading;
mod round;
mod sequencer;
mod service;
mod signing;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use eonpro_audit::sequence::{self, LeafBuilder};
use eonpro_audit::{
    AuditConfig, AuditError, AuditParts, DirectoryHead, LogId, Receipt, Stats, VerifyError,
    VerifyingKey, alert_for,
};
use eonpro_core::RequestContext;
use eonpro_core::entropy::SharedEntropy;
use eonpro_core::event::{Event, EventData, Outcome};
use eonpro_core::id::EventId;
use eonpro_core::port::{Alert, Observer};
use eonpro_core::task;
use eonpro_core::time::SharedClock;
use futures_util::future::{Either, select};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config::PgConfig;
use crate::connect::Connector;
use crate::migration::{self, lock_key};
use crate::pool::Connections;
use alerts::Notice;
use database::Statements;
use proofs::Proofs;
use queue::Queue;
use sequencer::{Sequencer, Work};
use signing::{Database, Signing, failed};

/// What the sequencer and the callers tell each other.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) connected: AtomicBool,
    pub(crate) leading: AtomicBool,
    pub(crate) counters: Counters,
    /// Entries that this process sequenced since the last checkpoint that it asked for.
    since_checkpoint: AtomicU64,
    checkpoint_every: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    entries: AtomicU64,
    logs: AtomicU64,
    batches: AtomicU64,
    bytes: AtomicU64,
    repeats: AtomicU64,
    refused: AtomicU64,
    alerts_dropped: AtomicU64,
    alerts_failed: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Shared {
    fn new(checkpoint_every: u64) -> Self {
        Self {
            connected: AtomicBool::new(false),
            leading: AtomicBool::new(false),
            counters: Counters::default(),
            since_checkpoint: AtomicU64::new(0),
            checkpoint_every,
        }
    }

    /// Asks for a checkpoint when enough entries have come.
    fn grew(&self, entries: u64, notices: &mpsc::Sender<Notice>) {
        let every = self.checkpoint_every;
        let so_far = self.since_checkpoint.fetch_add(entries, Ordering::Relaxed) + entries;
        if every > 0 && so_far >= every && notices.try_send(Notice::Checkpoint).is_ok() {
            self.since_checkpoint.store(0, Ordering::Relaxed);
        }
    }
}

/// What all handles share.
#[derive(Debug)]
pub(crate) struct Core {
    config: AuditConfig,
    clock: SharedClock,
    entropy: SharedEntropy,
    builder: LeafBuilder,
    /// Those that may have signed.
    keys: Vec<VerifyingKey>,
    proofs: Proofs,
    observer: Arc<dyn Observer>,
    connections: Connections,
    statements: Arc<Statements>,
    queue: Queue,
    signing: tokio::sync::Mutex<Signing>,
    shared: Arc<Shared>,
    notices: mpsc::Sender<Notice>,
    closed: AtomicBool,
    corrupt: AtomicBool,
    ending: Mutex<Option<[JoinHandle<()>; 2]>>,
}

impl Core {
    fn database(&self) -> Database<'_> {
        Database {
            statements: &self.statements,
            connections: &self.connections,
        }
    }

    fn open(&self) -> Result<(), AuditError> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(AuditError::Closed),
            false => Ok(()),
        }
    }

    async fn submit(
        &self,
        log: LogId,
        cx: &RequestContext,
        events: &[Arc<Event>],
    ) -> Result<Vec<Receipt>, AuditError> {
        let mut entries: Vec<(EventId, Vec<u8>)> = Vec::with_capacity(events.len());
        for event in events {
            entries.push((event.id(), self.builder.tail(&log, cx, event).await?));
        }
        let alerts = events.iter().filter_map(|event| alert_for(&log, event));
        self.queue.append(cx, log, entries, alerts.collect()).await
    }

    /// Appends an event of audit's own.
    async fn record<E: EventData>(
        &self,
        log: LogId,
        data: E,
        outcome: Outcome,
    ) -> Result<(), AuditError> {
        let cx = RequestContext::system("audit", &*self.clock, &*self.entropy);
        let cx = match log {
            LogId::Tenant(id) => self.builder.bound(cx, id),
            LogId::System | LogId::Directory => cx,
        };
        let event = Event::new(data, outcome, &*self.clock, &*self.entropy);
        self.submit(log, &cx, std::slice::from_ref(&event)).await?;
        Ok(())
    }

    async fn record_alert(&self, alert: &Alert) -> Result<(), AuditError> {
        let log = alert.tenant.map_or(LogId::System, LogId::Tenant);
        self.record(log, sequence::alerted(alert), Outcome::Success)
            .await
    }

    async fn sign(&self) -> Result<DirectoryHead, AuditError> {
        let signed = self.signing.lock().await.checkpoint(self.database()).await;
        self.note_corruption(signed).await
    }

    /// Records AUD-006 where the rows are not what was written.
    async fn note_corruption<T>(&self, result: Result<T, AuditError>) -> Result<T, AuditError> {
        if let Err(AuditError::Corrupt(error @ VerifyError::Tampered { .. })) = &result {
            self.corrupt.store(true, Ordering::Release);
            let event = sequence::failed(error);
            if let Err(error) = self.record(LogId::System, event, Outcome::Serious).await {
                tracing::error!(%error, "damage to the audit log could not be recorded");
            }
        }
        result
    }

    /// Waits until the alerts of all entries are delivered and recorded, but not for ever.
    async fn drain_alerts(&self) {
        let (done, drained) = oneshot::channel();
        let draining = async {
            let _ = self.queue.mark().await;
            let _ = self.notices.send(Notice::Drain(done)).await;
            let _ = drained.await;
        };
        let until = self.clock.monotonic().plus(self.config.alert_drain);
        let late = self.clock.sleep_until(until);
        if let Either::Right(_) = select(Box::pin(draining), late).await {
            tracing::error!("alerts were still waiting when the audit log was closed");
        }
    }

    fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        let mut stats = Stats::default();
        stats.entries = read(&counters.entries);
        stats.logs = read(&counters.logs);
        stats.batches = read(&counters.batches);
        stats.bytes = read(&counters.bytes);
        stats.repeats = read(&counters.repeats);
        stats.alerts_dropped = read(&counters.alerts_dropped);
        stats.alerts_failed = read(&counters.alerts_failed);
        stats
    }
}

/// The audit log in PostgreSQL, shared by all processes that open the same schema.
///
/// An append returns once the transaction that wrote it is durable on the server. One session of the
/// database sequences, the other processes' appends go through it; where it ends, another one takes over,
/// and what was in flight is asked for again: a repeat folds for ever, whatever `AuditConfig::recent_ids`
/// says. A leaf, the chain, the tree and the checkpoints are byte for byte those of the embedded log.
///
/// There is no spool: while the server is out of reach an append waits until its deadline, or
/// `AuditConfig::queue_wait` without one, and is in doubt then. What of [`AuditConfig`] is about files
/// (`segment_bytes`, `fill_bytes`, `spool_entries`), `recent_ids` and `max_logs` have no meaning here.
///
/// Queries use indexes of the entry table, and each hit is compared with its hash and with the question. A
/// first proof in a log reads the hashes of all its signed entries. All processes must share one
/// `AuditParts::state`, which knows the patients' pseudonyms; `AuditConfig::subject_cache` and `subject_ttl`
/// hold here too. Not here: `AuditConfig::witnesses`, which are refused; the last signed head in the state,
/// so a database that was put back shows only against an anchor; a change of signing keys on record,
/// pruning, archive, `reveal`, `disclose` and `shred`.
///
/// [`AuditLog::stats`](eonpro_audit::AuditLog::stats) counts what this process sequenced, and entries and logs from when it was opened on.
/// [`Component::close`](eonpro_core::component::Component::close) signs nothing: another process may go on. A process that signs for the first time
/// reads all logs from their first entry on. `AUD-001` is recorded by each process that opens the log.
pub struct PgAudit(Arc<Core>);

/// An entry on its way into the log with the transaction of whoever wrote what it tells of.
///
/// Run [`sql`](Self::sql) in that transaction, with the log (`text`), the id (`text`) and the entry
/// (`bytea`) as its three parameters. Once the transaction is committed the entry comes into the log,
/// once, whichever process dies in between; if it is rolled back nothing was ever there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedEntry {
    sql: String,
    log: String,
    id: String,
    entry: Vec<u8>,
}

impl StagedEntry {
    /// The statement, with `$1` to `$3`.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// `$1`: the origin of the log.
    #[must_use]
    pub fn log(&self) -> &str {
        &self.log
    }

    /// `$2`: the id of the event.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `$3`: the entry, sealed fields sealed.
    #[must_use]
    pub fn entry(&self) -> &[u8] {
        &self.entry
    }
}

impl fmt::Debug for PgAudit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgAudit").finish_non_exhaustive()
    }
}

/// Refuses what this log does not do, rather than sign without it.
fn check(audit: &AuditConfig) -> Result<(), AuditError> {
    audit.check()?;
    match audit.witnesses {
        None => Ok(()),
        Some(_) => Err(AuditError::Config("no witnesses: this log asks none")),
    }
}

impl PgAudit {
    /// Opens the log and records that it began (AUD-001). The schema must have been
    /// [migrated](crate::migrate); any number of processes may have it open.
    ///
    /// # Errors
    /// [`AuditError::Config`]; [`AuditError::Backend`] with the [`PgError`](crate::PgError) as its source;
    /// [`AuditError::Sign`] if the first head could not be signed. Not cancel-safe: a dropped call may have
    /// recorded the start.
    pub async fn open(
        config: &PgConfig,
        parts: AuditParts,
        audit: AuditConfig,
    ) -> Result<Self, AuditError> {
        check(&audit)?;
        let connector = Connector::new(config).map_err(failed)?;
        let connections = Connections::new(config, connector.clone()).map_err(failed)?;
        let durable = migration::check(&connections, &config.schema).await;
        if !durable.map_err(failed)? {
            return Err(AuditError::Config("a server with fsync on"));
        }
        let statements = Arc::new(Statements::of(&config.schema));
        let mut keys = audit.previous_keys.clone();
        keys.push(parts.verifying_key());
        let signing = Signing {
            signer: parts.signer,
            keys: keys.clone(),
            read: None,
        };
        let database = Database {
            statements: &statements,
            connections: &connections,
        };
        signing.begin(database).await?;

        let shared = Arc::new(Shared::new(audit.checkpoint_every));
        let (jobs, todo) = mpsc::unbounded_channel();
        let (notices, noticed) = mpsc::channel(audit.alert_queue);
        let schema = config.schema.as_bytes();
        let sequencer = Sequencer {
            connector,
            statements: Arc::clone(&statements),
            channel: format!("eonpro_audit_{}", config.schema),
            lock: lock_key(&[b"eonpro/postgres/audit/v1", schema]),
            timeout: config.operation_timeout,
            config: audit.clone(),
            clock: Arc::clone(&parts.clock),
            jobs: todo,
            shared: Arc::clone(&shared),
            notices: notices.clone(),
            work: Work::default(),
            stuck: HashSet::new(),
        };
        let sequencing = task::start(sequencer.run());
        let core = Arc::new_cyclic(|weak| Core {
            queue: Queue::new(jobs, &audit, Arc::clone(&parts.clock)),
            builder: LeafBuilder::new(
                parts.sealer,
                parts.authority,
                parts.state,
                Arc::clone(&parts.clock),
                &audit,
            ),
            keys,
            proofs: Proofs::default(),
            config: audit,
            clock: parts.clock,
            entropy: parts.entropy,
            observer: parts.observer,
            connections,
            statements,
            signing: tokio::sync::Mutex::new(signing),
            shared,
            notices,
            closed: AtomicBool::new(false),
            corrupt: AtomicBool::new(false),
            ending: Mutex::new(Some([
                sequencing,
                alerts::start(weak.clone(), parts.alerts, noticed),
            ])),
        });
        let log = Self(core);
        log.begin().await?;
        Ok(log)
    }

    async fn begin(&self) -> Result<(), AuditError> {
        let core = &self.0;
        let heads = core.statements.all_heads(&core.connections).await;
        let heads = heads.map_err(failed)?;
        let ordinary = heads.iter().filter(|head| head.log != LogId::Directory);
        count(&core.shared.counters.logs, ordinary.clone().count() as u64);
        let entries = ordinary.map(|head| head.size).sum();
        count(&core.shared.counters.entries, entries);
        let system = heads.iter().find(|head| head.log == LogId::System);
        let chain = system.map(database::Head::chain).transpose()?;
        let chain = chain.unwrap_or_else(|| sequence::Chain::new(LogId::System));
        let event = sequence::started(&chain.head());
        core.record(LogId::System, event, Outcome::Success).await
    }

    /// What puts `event` into the outbox together with the rows that it tells of. Seals what must be
    /// sealed; writes nothing. Cancel-safe.
    ///
    /// # Errors
    /// [`AuditError::Closed`], [`AuditError::TooLarge`], [`AuditError::Seal`], [`AuditError::FieldName`].
    pub async fn stage(
        &self,
        cx: &RequestContext,
        event: &Event,
    ) -> Result<StagedEntry, AuditError> {
        self.0.open()?;
        let log = LogId::of(cx, event);
        Ok(StagedEntry {
            sql: self.0.statements.stage.clone(),
            log: log.to_string(),
            id: event.id().to_string(),
            entry: self.0.builder.tail(&log, cx, event).await?,
        })
    }

    /// Whether it is this process whose session sequences now.
    #[must_use]
    pub fn is_sequencing(&self) -> bool {
        self.0.shared.leading.load(Ordering::Acquire)
    }
}

impl Drop for PgAudit {
    fn drop(&mut self) {
        // What was accepted is brought to its end, and then the session ends and gives the lock back.
        self.0.queue.end();
    }
}
