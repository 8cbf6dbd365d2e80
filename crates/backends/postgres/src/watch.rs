//! Watches: one connection that listens for all of them.
//!
//! A notification names the digest of a partition and nothing else: every role of the database may
//! listen, and a payload has room for 8,000 bytes only. So a watcher hears [`Change::Lagged`] for
//! its partition, at most once until it looks. What it may have missed while the connection was down
//! is announced the same way, once the connection is up again.
//!
//! Commits notify only where somebody listens: a listener holds a shared advisory lock on the slot
//! of each partition that it watches, and the server drops the lock with the connection. A commit that
//! began before the lock was taken is visible once the lock is held.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use eonpro_core::digest::Digest;
use eonpro_core::pae;
use eonpro_core::port::kv::Change;
use eonpro_core::task;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::BoxStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client};

use crate::connect::{Connector, Messages};
use crate::error::PgError;
use crate::migration::lock_key;

/// Locks are taken by slots, or a server would need one for each partition that is watched.
const SLOTS: u8 = 64;
/// Watches that wait to be registered.
const QUEUE: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What names a partition in notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Topic(Digest);

impl Topic {
    pub(crate) fn of(partition: &[u8]) -> Self {
        let parts: [&[u8]; 2] = [b"eonpro/postgres/watch/v1", partition];
        Self(Digest::of(&pae::encode(&parts)))
    }

    pub(crate) fn payload(self) -> String {
        self.0.to_string()
    }

    fn slot(self) -> u8 {
        let [first, ..] = *self.0.as_bytes();
        first % SLOTS
    }

    /// The advisory lock of its slot.
    pub(crate) fn lock(self, schema: &str) -> i64 {
        lock_key(&[
            b"eonpro/postgres/slot/v1",
            schema.as_bytes(),
            &[self.slot()],
        ])
    }
}

/// The channel of a schema.
pub(crate) fn channel(schema: &str) -> String {
    format!("eonpro_kv_{schema}")
}

/// Who watches what. A counter is raised with each notification; watchers see that it changed.
#[derive(Debug, Default)]
struct Watchers(Mutex<HashMap<Topic, watch::Sender<u64>>>);

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, watch::Sender<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, topic: Topic) -> watch::Receiver<u64> {
        let mut watchers = self.lock();
        watchers.retain(|_, watchers| watchers.receiver_count() > 0);
        watchers.entry(topic).or_default().subscribe()
    }

    fn topics(&self) -> Vec<Topic> {
        self.lock().keys().copied().collect()
    }

    fn tell(&self, payload: &str) {
        let watchers = self.lock();
        // Otherwise nobody watches it here any more, or it is no notification of ours.
        let told = Digest::parse_hex(payload).and_then(|digest| watchers.get(&Topic(digest)));
        told.into_iter().for_each(raise);
    }

    fn tell_all(&self) {
        self.lock().values().for_each(raise);
    }
}

fn raise(watchers: &watch::Sender<u64>) {
    watchers.send_modify(|count| *count = count.wrapping_add(1));
}

/// Asks for the lock of a topic.
#[derive(Debug)]
struct Request {
    topic: Topic,
    reply: oneshot::Sender<Result<(), PgError>>,
}

/// All watches of a store.
#[derive(Debug)]
pub(crate) struct Watches {
    listener: Arc<Listener>,
    /// Taken away by close.
    requests: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Idle,
    Listening(mpsc::Sender<Request>),
    Closed,
}

#[derive(Debug)]
struct Listener {
    connector: Connector,
    schema: String,
    operation_timeout: Duration,
    ping_interval: Duration,
    watchers: Watchers,
}

impl Watches {
    pub(crate) fn new(connector: Connector, config: &crate::PgConfig) -> Self {
        Self {
            listener: Arc::new(Listener {
                connector,
                schema: config.schema.clone(),
                operation_timeout: config.operation_timeout,
                ping_interval: config.ping_interval,
                watchers: Watchers::default(),
            }),
            requests: Mutex::new(State::Idle),
        }
    }

    /// Watches `topic` from now on. Cancel-safe.
    pub(crate) async fn watch(&self, topic: Topic) -> Result<BoxStream<'static, Change>, PgError> {
        let Some(requests) = self.requests() else {
            return Err(PgError::Connection(None));
        };
        // Before the lock is held, or a notification between would be lost.
        let mut heard = self.listener.watchers.add(topic);
        let (reply, answer) = oneshot::channel();
        let gone = |_| PgError::Connection(None);
        let request = requests.send(Request { topic, reply });
        request.await.map_err(|_| PgError::Connection(None))?;
        drop(requests);
        answer.await.map_err(gone)??;
        // What was told until now can be read by whoever reads from now on.
        heard.mark_unchanged();
        let hints = futures_util::stream::unfold(heard, |mut heard| async {
            heard.changed().await.ok()?;
            Some((Change::Lagged, heard))
        });
        Ok(hints.boxed())
    }

    fn requests(&self) -> Option<mpsc::Sender<Request>> {
        let mut state = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Idle) {
            let (sender, requests) = mpsc::channel(QUEUE);
            drop(task::start(listen(Arc::clone(&self.listener), requests)));
            *state = State::Listening(sender);
        }
        match &*state {
            State::Listening(sender) => Some(sender.clone()),
            State::Idle | State::Closed => None,
        }
    }

    pub(crate) fn close(&self) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = State::Closed;
    }
}

/// Listens until the store is closed or gone; then all watches end.
async fn listen(listener: Arc<Listener>, mut requests: mpsc::Receiver<Request>) {
    let mut pause = FIRST_PAUSE;
    while let Ended::Lost { listened } = listener.session(&mut requests).await {
        // Once for each loss; whatever is missed until the next session is announced by that.
        if listened {
            listener.watchers.tell_all();
            pause = FIRST_PAUSE;
        }
        if tokio::time::timeout(pause, refuse(&mut requests))
            .await
            .is_ok()
        {
            break;
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    listener.watchers.lock().clear();
}

/// Answers who asks while there is no connection, until the store is gone.
async fn refuse(requests: &mut mpsc::Receiver<Request>) {
    while let Some(request) = requests.recv().await {
        let _the_watcher_may_be_gone = request.reply.send(Err(PgError::Connection(None)));
    }
}

enum Ended {
    /// The store was closed or dropped.
    Closed,
    /// The connection failed.
    Lost { listened: bool },
}

/// The task that reads the connection, ended with the session.
struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listener {
    async fn session(self: &Arc<Self>, requests: &mut mpsc::Receiver<Request>) -> Ended {
        let Ok((client, messages)) = self.connector.open().await else {
            return Ended::Lost { listened: false };
        };
        let mut reading = Reading(task::start(read(Arc::clone(self), messages)));
        if self.resume(&client).await.is_err() {
            return Ended::Lost { listened: false };
        }
        let lost = Ended::Lost { listened: true };
        loop {
            let next = pin!(tokio::time::timeout(self.ping_interval, requests.recv()));
            let next = match select(&mut reading.0, next).await {
                Either::Left(_) => return lost,
                Either::Right((next, _)) => next,
            };
            match next {
                Ok(None) => return Ended::Closed,
                Ok(Some(Request { topic, reply })) => {
                    let held = self.hold(&client, topic).await;
                    let failed = held.is_err();
                    let _the_watcher_may_be_gone = reply.send(held);
                    if failed {
                        return lost;
                    }
                }
                Err(_) if self.within(client.simple_query("")).await.is_err() => return lost,
                Err(_) => {}
            }
        }
    }

    /// Listens, takes the locks of all that is watched, and then announces what may have been missed.
    async fn resume(&self, client: &Client) -> Result<(), PgError> {
        let listen = format!("LISTEN \"{}\"", channel(&self.schema));
        self.within(client.batch_execute(&listen)).await?;
        for topic in self.watchers.topics() {
            self.hold(client, topic).await?;
        }
        self.watchers.tell_all();
        Ok(())
    }

    /// Takes the lock of a topic's slot; the server counts those that it is given twice.
    async fn hold(&self, client: &Client, topic: Topic) -> Result<(), PgError> {
        let lock = topic.lock(&self.schema);
        let take = "SELECT pg_advisory_lock_shared($1)::text";
        self.within(client.query_typed(take, &[(&lock, Type::INT8)]))
            .await?;
        Ok(())
    }

    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, PgError> {
        match tokio::time::timeout(self.operation_timeout, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(PgError::Timeout),
        }
    }
}

async fn read(listener: Arc<Listener>, mut messages: Messages) {
    while let Some(Ok(message)) = messages.next().await {
        if let AsyncMessage::Notification(notification) = message {
            listener.watchers.tell(notification.payload());
        }
    }
}
