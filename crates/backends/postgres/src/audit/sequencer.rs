//! The one task of a process that brings appends into the log.
//!
//! One session of the database sequences at a time: it holds an advisory lock, which goes with the
//! session, and an epoch, without which the server refuses its appends. It takes all that is queued here
//! and what stands in the outbox, and appends it in one statement. The sequencers of other processes put
//! their appends into the outbox, wait for them to leave it, and ask for the lock again and again.
//!
//! Nothing is given up when a connection is lost: what was not answered is asked for again, and the
//! unique ids fold what had been written after all.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eonpro_audit::sequence::{Chain, repeats};
use eonpro_audit::{AuditConfig, AuditError, LogId};
use eonpro_core::time::SharedClock;
use futures_util::StreamExt as _;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Row};

use super::alerts::Notice;
use super::database::{Ask, Boxed, PAGE, Statements, Term};
use super::queue::{Append, Job};
use super::round::{Answers, Round};
use super::{Shared, count};
use crate::connect::Connector;
use crate::error::PgError;
use crate::pool::Parameter;
use eonpro_core::task;

/// How long a session sleeps at most: staged entries and a free lock are looked for, not announced.
const POLL: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The outbox has its turn after as many rounds.
const ROUNDS: usize = 8;
/// More logs than that are forgotten, and read again when they grow.
const MAX_CHAINS: usize = 65_536;

/// A connection of its own, with a task that hears what is announced.
pub(super) struct Session {
    client: Client,
    hearing: JoinHandle<()>,
    told: Arc<Notify>,
    timeout: Duration,
}

impl Session {
    async fn open(
        connector: &Connector,
        channel: &str,
        timeout: Duration,
    ) -> Result<Self, PgError> {
        let opening = tokio::time::timeout(timeout, connector.open()).await;
        let (client, mut messages) = opening.map_err(|_| PgError::Timeout)??;
        let told = Arc::new(Notify::new());
        let telling = Arc::clone(&told);
        let hearing = task::start(async move {
            while let Some(Ok(message)) = messages.next().await {
                if matches!(message, AsyncMessage::Notification(_)) {
                    telling.notify_one();
                }
            }
            // The connection is gone: whoever asks finds out.
            telling.notify_one();
        });
        let session = Self {
            client,
            hearing,
            told,
            timeout,
        };
        let listen = format!("LISTEN \"{channel}\"");
        let listening = session.client.batch_execute(&listen);
        let listening = tokio::time::timeout(timeout, listening).await;
        listening.map_err(|_| PgError::Timeout)??;
        Ok(session)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.hearing.abort();
    }
}

impl Ask for Session {
    async fn ask(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, PgError> {
        let answer = self.client.query_typed(sql, parameters);
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(PgError::Timeout),
        }
    }
}

/// What a session knows while it sequences.
#[derive(Debug)]
pub(super) struct Lead {
    pub(super) term: Term,
    pub(super) chains: HashMap<LogId, Chain>,
}

/// An append that stands in the outbox.
#[derive(Debug)]
struct Waiting {
    ticket: u64,
    place: i64,
    append: Append,
}

/// See the module.
pub(super) struct Sequencer {
    pub(super) connector: Connector,
    pub(super) statements: Arc<Statements>,
    pub(super) channel: String,
    pub(super) lock: i64,
    pub(super) timeout: Duration,
    pub(super) config: AuditConfig,
    pub(super) clock: SharedClock,
    pub(super) jobs: mpsc::UnboundedReceiver<Job>,
    pub(super) shared: Arc<Shared>,
    pub(super) notices: mpsc::Sender<Notice>,
    pub(super) work: Work,
    /// Rows of the outbox that the server refuses in this session.
    pub(super) stuck: HashSet<i64>,
}

/// What was accepted and not answered yet.
#[derive(Debug, Default)]
pub(super) struct Work {
    tickets: u64,
    pending: VecDeque<(u64, Append)>,
    waiting: Vec<Waiting>,
    marks: Vec<(u64, oneshot::Sender<()>)>,
    ends: bool,
}

impl Work {
    fn take(&mut self, job: Option<Job>) {
        match job {
            Some(Job::Append(append)) => {
                self.pending.push_back((self.tickets, append));
                self.tickets += 1;
            }
            Some(Job::Mark(reply)) => self.marks.push((self.tickets, reply)),
            Some(Job::End) | None => self.ends = true,
        }
    }

    /// Answers the marks before which everything was answered.
    fn answer_marks(&mut self) {
        let pending = self.pending.iter().map(|(ticket, _)| *ticket);
        let waiting = self.waiting.iter().map(|waiting| waiting.ticket);
        let first = pending.chain(waiting).min().unwrap_or(u64::MAX);
        let (done, later) = std::mem::take(&mut self.marks)
            .into_iter()
            .partition::<Vec<_>, _>(|(ticket, _)| *ticket <= first);
        self.marks = later;
        for (_, reply) in done {
            let _ = reply.send(());
        }
    }

    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.waiting.is_empty()
    }
}

impl Sequencer {
    /// Works until the log is closed and everything was answered; or, once it is closed, until the
    /// server is out of reach.
    pub(super) async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let opened = Session::open(&self.connector, &self.channel, self.timeout).await;
            let lost = match opened {
                Err(error) => error,
                Ok(session) => {
                    self.shared.connected.store(true, Ordering::Release);
                    pause = FIRST_PAUSE;
                    self.stuck.clear();
                    match self.serve(&session).await {
                        Ok(()) => break,
                        Err(error) => error,
                    }
                }
            };
            self.shared.connected.store(false, Ordering::Release);
            self.shared.leading.store(false, Ordering::Release);
            tracing::warn!(error = %lost, "the audit sequencer lost its session");
            if self.work.ends {
                break;
            }
            self.rest(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        self.give_up();
    }

    /// Takes jobs for a while.
    async fn rest(&mut self, pause: Duration) {
        let (jobs, work) = (&mut self.jobs, &mut self.work);
        let taking = async {
            while !work.ends {
                work.take(jobs.recv().await);
            }
        };
        let _until_then = tokio::time::timeout(pause, taking).await;
    }

    /// Answers what is left: it may be in the log, or come into it out of the outbox.
    fn give_up(&mut self) {
        self.jobs.close();
        while let Ok(job) = self.jobs.try_recv() {
            self.work.take(Some(job));
        }
        let pending = std::mem::take(&mut self.work.pending);
        let waiting = std::mem::take(&mut self.work.waiting);
        let pending = pending.into_iter().map(|(_, append)| append);
        for append in pending.chain(waiting.into_iter().map(|waiting| waiting.append)) {
            let error = AuditError::InDoubt(PgError::Connection(None).into());
            let _ = append.reply.send(Err(error));
        }
        self.work.answer_marks();
    }

    async fn serve(&mut self, session: &Session) -> Result<(), PgError> {
        let mut lead: Option<Lead> = None;
        let mut since_outbox = ROUNDS;
        loop {
            while let Ok(job) = self.jobs.try_recv() {
                self.work.take(Some(job));
            }
            if lead.is_none() {
                let term = self.statements.lead(session, self.lock).await?;
                lead = term.map(|term| Lead {
                    term,
                    chains: HashMap::new(),
                });
                self.shared.leading.store(lead.is_some(), Ordering::Release);
                since_outbox = ROUNDS;
            }
            match &mut lead {
                Some(lead) => {
                    since_outbox += 1;
                    let boxed = match since_outbox > ROUNDS {
                        true => self.statements.outbox(session).await?,
                        false => Vec::new(),
                    };
                    // A full page has another one behind it.
                    if boxed.len() < PAGE && since_outbox > ROUNDS {
                        since_outbox = 0;
                    }
                    let goes = |row: &Boxed| !self.stuck.contains(&row.place);
                    let boxed: Vec<Boxed> = boxed.into_iter().filter(goes).collect();
                    self.round(session, lead, boxed).await?;
                    if lead.chains.len() > MAX_CHAINS {
                        lead.chains.clear();
                    }
                }
                None => self.forward(session).await?,
            }
            if !self.work.waiting.is_empty() {
                self.settle(session).await?;
            }
            self.work.answer_marks();
            if self.work.ends && self.work.is_idle() {
                return Ok(());
            }
            if self.work.pending.is_empty() && since_outbox <= ROUNDS {
                tokio::select! {
                    biased;
                    job = self.jobs.recv(), if !self.work.ends => self.work.take(job),
                    _ = tokio::time::timeout(POLL, session.told.notified()) => since_outbox = ROUNDS,
                }
            }
        }
    }

    /// Appends what is queued and `boxed`. What failed with the connection is queued as it was.
    async fn round(
        &mut self,
        session: &Session,
        lead: &mut Lead,
        boxed: Vec<Boxed>,
    ) -> Result<(), PgError> {
        let mut group: Vec<(u64, Append)> = Vec::new();
        let (mut bytes, mut entries) = (0, 0);
        while let Some((_, next)) = self.work.pending.front() {
            (bytes, entries) = (bytes + next.bytes(), entries + next.ids.len());
            let full = bytes > self.config.batch_bytes || entries > self.config.batch_entries;
            if full && !group.is_empty() {
                break;
            }
            group.extend(self.work.pending.pop_front());
        }
        if group.is_empty() && boxed.is_empty() {
            return Ok(());
        }
        let (group, error) = match self.try_round(session, lead, group, &boxed).await {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        if let PgError::Refused(_) = &error {
            return self.one_by_one(session, lead, group, &boxed).await;
        }
        for one in group.into_iter().rev() {
            self.work.pending.push_front(one);
        }
        Err(error)
    }

    /// Gives the group back if it failed.
    async fn try_round(
        &self,
        session: &Session,
        lead: &mut Lead,
        group: Vec<(u64, Append)>,
        boxed: &[Boxed],
    ) -> Result<(), (Vec<(u64, Append)>, PgError)> {
        let appends: Vec<&Append> = group.iter().map(|(_, append)| append).collect();
        let round = Round {
            statements: &self.statements,
            session,
            channel: &self.channel,
            clock: &*self.clock,
        };
        match round.append(lead, &appends, boxed).await {
            Ok(answers) => {
                self.tell(group, answers);
                Ok(())
            }
            Err(error) => Err((group, error)),
        }
    }

    /// A statement that was refused wrote nothing: whatever it was refused for must not hold up the rest.
    async fn one_by_one(
        &mut self,
        session: &Session,
        lead: &mut Lead,
        group: Vec<(u64, Append)>,
        boxed: &[Boxed],
    ) -> Result<(), PgError> {
        let mut group = VecDeque::from(group);
        let mut boxed = boxed.iter();
        loop {
            // What was at hand may be what was wrong.
            lead.chains.clear();
            let (one, row) = match boxed.next() {
                Some(row) => (Vec::new(), std::slice::from_ref(row)),
                None => match group.pop_front() {
                    Some(one) => (vec![one], &[][..]),
                    None => return Ok(()),
                },
            };
            let Err((one, error)) = self.try_round(session, lead, one, row).await else {
                continue;
            };
            let PgError::Refused(code) = error else {
                for left in one.into_iter().chain(group).rev() {
                    self.work.pending.push_front(left);
                }
                return Err(error);
            };
            tracing::error!(code, "the server refuses audit entries");
            self.stuck.extend(row.iter().map(|row| row.place));
            for (_, append) in one {
                let error = AuditError::Backend(PgError::Refused(code.clone()).into());
                let _ = append.reply.send(Err(error));
            }
        }
    }

    fn tell(&self, group: Vec<(u64, Append)>, answers: Answers) {
        let counters = &self.shared.counters;
        count(&counters.batches, u64::from(answers.entries > 0));
        count(&counters.bytes, answers.bytes);
        count(&counters.entries, answers.entries);
        count(&counters.logs, answers.new_logs);
        count(&counters.repeats, answers.repeats);
        count(&counters.refused, answers.set_aside);
        for alert in answers.alerts {
            if self.notices.try_send(Notice::Alert(alert)).is_err() {
                count(&counters.alerts_dropped, 1);
            }
        }
        let fresh = answers.fresh;
        for (((_, append), answer), fresh) in group.into_iter().zip(answers.answers).zip(fresh) {
            if fresh {
                for alert in append.alerts {
                    if self.notices.try_send(Notice::Alert(alert)).is_err() {
                        count(&counters.alerts_dropped, 1);
                    }
                }
            }
            // A caller that went away does not un-write its entry.
            let _ = append.reply.send(answer);
        }
        self.shared.grew(answers.entries, &self.notices);
    }

    /// Puts what is queued into the outbox.
    async fn forward(&mut self, session: &Session) -> Result<(), PgError> {
        while let Some((ticket, append)) = self.work.pending.pop_front() {
            let put = self.statements.forward(
                session,
                append.log,
                &append.ids,
                &append.tails,
                &self.channel,
            );
            match put.await {
                Ok(place) => self.work.waiting.push(Waiting {
                    ticket,
                    place,
                    append,
                }),
                Err(PgError::Refused(code)) => {
                    let error = AuditError::Backend(PgError::Refused(code).into());
                    let _ = append.reply.send(Err(error));
                }
                Err(error) => {
                    self.work.pending.push_front((ticket, append));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Answers what has left the outbox.
    async fn settle(&mut self, session: &Session) -> Result<(), PgError> {
        let places: Vec<i64> = self.work.waiting.iter().map(|one| one.place).collect();
        let staying = self.statements.staying(session, &places).await?;
        let gone = self.work.waiting.iter();
        let gone = gone.filter(|one| !staying.contains_key(&one.place));
        let ids: Vec<_> = gone.flat_map(|one| one.append.ids.clone()).collect();
        let known = match ids.is_empty() {
            true => HashMap::new(),
            false => self.statements.known(session, &ids).await?,
        };
        for one in std::mem::take(&mut self.work.waiting) {
            let answer = match staying.get(&one.place) {
                Some(false) => {
                    self.work.waiting.push(one);
                    continue;
                }
                Some(true) => Err(AuditError::Backend(PgError::Malformed.into())),
                None => {
                    let ids = &one.append.ids;
                    let receipts = ids.iter().filter_map(|id| known.get(id).copied());
                    match repeats(one.append.log, ids, receipts.collect()) {
                        Some(answer) => answer.map_err(AuditError::Batch),
                        None => Err(AuditError::InDoubt(PgError::Malformed.into())),
                    }
                }
            };
            let _ = one.append.reply.send(answer);
        }
        Ok(())
    }
}
