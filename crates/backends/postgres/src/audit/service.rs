//! The log as a service: what [`PgAudit`] does for its callers, and how it fares.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use eonpro_audit::{
    AuditError, AuditLog, BatchFault, DirectoryHead, EntryView, LogId, Page, Query, Receipt,
    Report, Stats, Written, sequence,
};
use eonpro_core::RequestContext;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::event::{Digest, EmitError, Event, EventSink, Outcome};
use eonpro_core::identity::ActorKind;
use eonpro_core::port::{Operation, Timer};

use super::PgAudit;

const APPEND: Operation = Operation::new("audit", "append");
const APPEND_BATCH: Operation = Operation::new("audit", "append_batch");
const CHECKPOINT: Operation = Operation::new("audit", "checkpoint");
const READ: Operation = Operation::new("audit", "read");
const QUERY: Operation = Operation::new("audit", "query");
const PROVE: Operation = Operation::new("audit", "prove");
const PROVE_GROWTH: Operation = Operation::new("audit", "prove_growth");
const VERIFY: Operation = Operation::new("audit", "verify");

#[async_trait]
impl AuditLog for PgAudit {
    async fn append(&self, cx: &RequestContext, event: &Arc<Event>) -> Result<Receipt, AuditError> {
        let core = &self.0;
        let timer = Timer::start(APPEND, &*core.clock, &*core.observer);
        let log = LogId::of(cx, event);
        let appended = match core.open() {
            Ok(()) => core.submit(log, cx, std::slice::from_ref(event)).await,
            Err(closed) => Err(closed),
        };
        timer.end(appended.and_then(|receipts| match receipts.first() {
            Some(receipt) => Ok(*receipt),
            None => Err(AuditError::WorkerLost),
        }))
    }

    async fn append_batch(
        &self,
        cx: &RequestContext,
        events: &[Arc<Event>],
    ) -> Result<Vec<Receipt>, AuditError> {
        let core = &self.0;
        let timer = Timer::start(APPEND_BATCH, &*core.clock, &*core.observer);
        let log = events.first().map(|event| LogId::of(cx, event));
        let appended = match (core.open(), log) {
            (Err(closed), _) => Err(closed),
            (Ok(()), None) => Err(AuditError::Batch(BatchFault::Empty)),
            (Ok(()), Some(log)) if events.iter().any(|event| LogId::of(cx, event) != log) => {
                Err(AuditError::Batch(BatchFault::SeveralLogs))
            }
            (Ok(()), Some(_)) if events.len() > core.queue.most_entries() => {
                Err(AuditError::Batch(BatchFault::TooLarge))
            }
            (Ok(()), Some(log)) => core.submit(log, cx, events).await,
        };
        timer.end(appended)
    }

    async fn barrier(&self) -> Result<(), AuditError> {
        self.0.open()?;
        self.0.queue.mark().await
    }

    async fn checkpoint(&self) -> Result<DirectoryHead, AuditError> {
        let core = &self.0;
        let timer = Timer::start(CHECKPOINT, &*core.clock, &*core.observer);
        let head = match core.open() {
            Ok(()) => core.sign().await,
            Err(closed) => Err(closed),
        };
        timer.end(head)
    }

    async fn read(
        &self,
        cx: &RequestContext,
        log: &LogId,
        range: Range<u64>,
    ) -> Result<Vec<EntryView>, AuditError> {
        let core = &self.0;
        let timer = Timer::start(READ, &*core.clock, &*core.observer);
        let views = core.read(cx, log, range).await;
        timer.end(views)
    }

    async fn query(&self, cx: &RequestContext, query: &Query) -> Result<Page, AuditError> {
        let core = &self.0;
        let timer = Timer::start(QUERY, &*core.clock, &*core.observer);
        let page = core.query(cx, query).await;
        timer.end(page)
    }

    async fn prove(
        &self,
        cx: &RequestContext,
        log: &LogId,
        index: u64,
        size: u64,
    ) -> Result<Vec<Digest>, AuditError> {
        let core = &self.0;
        let timer = Timer::start(PROVE, &*core.clock, &*core.observer);
        let proof = core.prove(cx, *log, index, size).await;
        timer.end(proof)
    }

    async fn prove_growth(
        &self,
        cx: &RequestContext,
        log: &LogId,
        old: u64,
        new: u64,
    ) -> Result<Vec<Digest>, AuditError> {
        let core = &self.0;
        let timer = Timer::start(PROVE_GROWTH, &*core.clock, &*core.observer);
        let proof = core.prove_growth(cx, *log, old, new).await;
        timer.end(proof)
    }

    async fn signed_head(
        &self,
        cx: &RequestContext,
        log: &LogId,
    ) -> Result<Option<String>, AuditError> {
        self.0.signed_head(cx, *log).await
    }

    async fn verify(&self, cx: &RequestContext) -> Result<Report, AuditError> {
        let core = &self.0;
        let timer = Timer::start(VERIFY, &*core.clock, &*core.observer);
        if cx.actor().kind != ActorKind::System {
            return timer.end(Err(AuditError::Denied));
        }
        let verified = match core.open() {
            Ok(()) => core.signing.lock().await.verify(core.database()).await,
            Err(closed) => Err(closed),
        };
        timer.end(match core.note_corruption(verified).await {
            Ok(report) => {
                let event = sequence::verified(&report);
                let recorded = core.record(LogId::System, event, Outcome::Success).await;
                recorded.map(|()| report)
            }
            Err(error) => Err(error),
        })
    }

    fn stats(&self) -> Stats {
        self.0.stats()
    }
}

#[async_trait]
impl EventSink for PgAudit {
    async fn emit(&self, cx: &RequestContext, event: &Arc<Event>) -> Result<(), EmitError> {
        match self.append(cx, event).await {
            Ok(_) => Ok(()),
            Err(error) if error.written() == Written::No => {
                Err(EmitError::NotWritten(error.into()))
            }
            Err(error) => Err(EmitError::Unknown(error.into())),
        }
    }
}

#[async_trait]
impl Component for PgAudit {
    fn name(&self) -> &'static str {
        "audit"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Durable,
            crypto: Validation::NotValidated,
            fitness: Fitness::Production,
        }
    }

    async fn health(&self) -> Health {
        let core = &self.0;
        let stats = core.stats();
        if core.closed.load(Ordering::Acquire) {
            Health::Unhealthy("closed")
        } else if core.corrupt.load(Ordering::Acquire) {
            Health::Unhealthy("the rows are not what was written")
        } else if !core.shared.connected.load(Ordering::Acquire) {
            Health::Unhealthy("the server does not answer")
        } else if core.shared.counters.refused.load(Ordering::Relaxed) > 0 {
            Health::Degraded("staged entries were set aside")
        } else if stats.alerts_dropped > 0 || stats.alerts_failed > 0 {
            Health::Degraded("alerts were not delivered")
        } else {
            Health::Healthy
        }
    }

    async fn close(&self) {
        let core = &self.0;
        core.closed.store(true, Ordering::Release);
        let ending = {
            let mut ending = core.ending.lock().unwrap_or_else(PoisonError::into_inner);
            ending.take()
        };
        let Some([sequencing, delivering]) = ending else {
            return;
        };
        core.drain_alerts().await;
        delivering.abort();
        core.queue.end();
        if sequencing.await.is_err() {
            tracing::error!("the audit sequencer ended early");
        }
        core.connections.close();
    }
}
