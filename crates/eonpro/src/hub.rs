//! The event hub: audit first, everybody else afterwards.
//!
//! Two lanes. *Required*: the audit log, attached last; `emit` returns once it has the entry, and
//! until it is attached every event fails closed. *Best effort*: each listener has a bounded queue
//! and a task of its own. A queue that is full drops the event for that listener and counts it, so
//! no listener can ever hold up the required lane or another listener.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::event::{EmitError, Event, EventSink};
use eonpro_core::{RequestContext, task};
use eonpro_metrics::Counter;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::FoundationError;

/// Hears of events after audit has them. What must happen is a call, not a listener's business.
#[async_trait]
pub trait EventListener: std::fmt::Debug + Send + Sync + 'static {
    /// A short stable name, such as `metrics`.
    fn name(&self) -> &'static str;

    /// Takes one event. Events come one by one, roughly in the order in which they were acknowledged;
    /// one whose emitter went away just then may be missed. It may take its time: its own queue
    /// fills meanwhile. It must not emit events itself, nor hold a service that does.
    async fn hear(&self, cx: &RequestContext, event: &Arc<Event>);
}

enum Notice {
    Event(RequestContext, Arc<Event>),
    /// Answer when everything before was heard.
    Mark(oneshot::Sender<()>),
}

#[derive(Debug)]
struct Lane {
    name: &'static str,
    queue: mpsc::Sender<Notice>,
    dropped: AtomicU64,
    counter: Option<Counter>,
}

impl std::fmt::Debug for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Event(..) => "Event",
            Self::Mark(_) => "Mark",
        })
    }
}

/// What one listener missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// The listener.
    pub listener: &'static str,
    /// How many events were dropped for it because its queue was full.
    pub events: u64,
}

/// The required lane's three states.
#[derive(Debug, Default)]
enum Required {
    #[default]
    Waiting,
    Attached(Arc<dyn EventSink>),
    Released,
}

/// Takes every event: to audit first, then to whoever listens.
#[derive(Debug, Default)]
pub struct EventHub {
    required: RwLock<Required>,
    lanes: RwLock<Arc<[Arc<Lane>]>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl EventHub {
    /// A hub that nobody listens to and whose required lane is empty.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Attaches the audit log: from now on events are accepted.
    ///
    /// # Errors
    /// [`FoundationError::AuditAttached`]; the first one stays.
    pub fn attach_audit(&self, audit: Arc<dyn EventSink>) -> Result<(), FoundationError> {
        let mut required = self
            .required
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if !matches!(*required, Required::Waiting) {
            return Err(FoundationError::AuditAttached);
        }
        *required = Required::Attached(audit);
        Ok(())
    }

    /// Lets go of audit and of the listeners, which hold services that hold the hub. From now on
    /// every event fails closed.
    pub(crate) fn release(&self) {
        *self
            .required
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Required::Released;
        *self.lanes.write().unwrap_or_else(PoisonError::into_inner) = Arc::from([]);
    }

    fn audit(&self) -> Option<Arc<dyn EventSink>> {
        match &*self.required.read().unwrap_or_else(PoisonError::into_inner) {
            Required::Attached(audit) => Some(Arc::clone(audit)),
            Required::Waiting | Required::Released => None,
        }
    }

    /// Lets `listener` hear of events from now on, through a queue of `capacity` events (at least
    /// one). Drops are also counted by `counter`. Runs on a Tokio runtime.
    pub fn listen(
        &self,
        listener: Arc<dyn EventListener>,
        capacity: usize,
        counter: Option<Counter>,
    ) {
        let (queue, notices) = mpsc::channel(capacity.max(1));
        let lane = Arc::new(Lane {
            name: listener.name(),
            queue,
            dropped: AtomicU64::new(0),
            counter,
        });
        let running = task::start(run(listener, notices));
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(running);
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        *lanes = lanes.iter().cloned().chain([lane]).collect();
    }

    /// How many events each listener missed.
    #[must_use]
    pub fn missed(&self) -> Vec<Missed> {
        let lanes = self.lanes();
        let missed = lanes.iter().map(|lane| Missed {
            listener: lane.name,
            events: lane.dropped.load(Ordering::Relaxed),
        });
        missed.collect()
    }

    /// Returns once every listener has heard what was acknowledged before. Cancel-safe.
    pub async fn settle(&self) {
        let lanes = self.lanes();
        let marks = lanes.iter().map(|lane| async move {
            let (mark, heard) = oneshot::channel();
            if lane.queue.send(Notice::Mark(mark)).await.is_ok() {
                // A listener that died has nothing left to hear.
                let _ended = heard.await;
            }
        });
        join_all(marks).await;
    }

    fn lanes(&self) -> Arc<[Arc<Lane>]> {
        Arc::clone(&self.lanes.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, cx: &RequestContext, event: &Arc<Event>) {
        for lane in self.lanes().iter() {
            let notice = Notice::Event(cx.clone(), Arc::clone(event));
            if lane.queue.try_send(notice).is_err() {
                lane.dropped.fetch_add(1, Ordering::Relaxed);
                if let Some(counter) = &lane.counter {
                    counter.add(1);
                }
            }
        }
    }
}

async fn run(listener: Arc<dyn EventListener>, mut notices: mpsc::Receiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Event(cx, event) => listener.hear(&cx, &event).await,
            // Whoever waited may have given up.
            Notice::Mark(mark) => _ = mark.send(()),
        }
    }
}

#[async_trait]
impl EventSink for EventHub {
    async fn emit(&self, cx: &RequestContext, event: &Arc<Event>) -> Result<(), EmitError> {
        let audit = self.audit().ok_or(EmitError::NotAttached)?;
        audit.emit(cx, event).await?;
        self.tell(cx, event);
        Ok(())
    }
}

#[async_trait]
impl Component for EventHub {
    fn name(&self) -> &'static str {
        "hub"
    }

    fn posture(&self) -> Posture {
        Posture::STRONGEST
    }

    async fn health(&self) -> Health {
        if self.audit().is_none() {
            Health::Unhealthy("no audit log is attached")
        } else if self.missed().iter().any(|missed| missed.events > 0) {
            Health::Degraded("a listener missed events")
        } else {
            Health::Healthy
        }
    }

    /// Lets the listeners finish what waits for them and ends them. The required lane goes on.
    async fn close(&self) {
        {
            let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
            *lanes = Arc::from([]);
        }
        let tasks = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        join_all(tasks).await;
    }
}
