//! One round of the sequencer: what comes into the log with one statement.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use eonpro_audit::sequence::{Chain, alert_of, next_recorded, repeats, staged_event};
use eonpro_audit::{AuditError, LogId, Receipt};
use eonpro_core::id::EventId;
use eonpro_core::port::Alert;
use eonpro_core::time::{Clock, Timestamp};

use super::database::{Boxed, Growth, Statements};
use super::queue::Append;
use super::sequencer::{Lead, Session};
use crate::error::PgError;

/// The server's word for an id that stands in the log already.
const UNIQUE_VIOLATION: &str = "23505";

/// What a round came to.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// For each append of the queue.
    pub(super) answers: Vec<Result<Vec<Receipt>, AuditError>>,
    /// Whether it was written by this round.
    pub(super) fresh: Vec<bool>,
    /// What entries of the outbox deserve.
    pub(super) alerts: Vec<Alert>,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) new_logs: u64,
    pub(super) repeats: u64,
    /// Rows of the outbox that can be no entries.
    pub(super) set_aside: u64,
}

/// What a round works with.
pub(super) struct Round<'a> {
    pub(super) statements: &'a Statements,
    pub(super) session: &'a Session,
    pub(super) channel: &'a str,
    pub(super) clock: &'a dyn Clock,
}

impl Round<'_> {
    /// Appends `appends` and `boxed`. With an error nothing in `lead` has changed.
    pub(super) async fn append(
        &self,
        lead: &mut Lead,
        appends: &[&Append],
        boxed: &[Boxed],
    ) -> Result<Answers, PgError> {
        self.read_heads(lead, appends, boxed).await?;
        let boxed_ids = boxed.iter().flat_map(|row| &row.ids);
        let queued = appends.iter().flat_map(|append| &append.ids);
        let ids: Vec<EventId> = boxed_ids.chain(queued).copied().collect();
        // Most entries are new: whether one is not is asked only where it is likely, or was found out.
        let mut known = match boxed.is_empty() {
            true => HashMap::new(),
            false => self.statements.known(self.session, &ids).await?,
        };
        let mut asked = !boxed.is_empty();
        loop {
            let draft = Draft::of(lead, appends, boxed, &known, self.clock.wall())?;
            if !draft.set_aside.is_empty() {
                let epoch = lead.term.epoch;
                let places = &draft.set_aside;
                self.statements
                    .set_aside(self.session, epoch, places)
                    .await?;
                tracing::error!(rows = places.len(), "staged audit entries were set aside");
            }
            if draft.growth.entries.is_empty() && draft.growth.drained.is_empty() {
                return Ok(draft.answers);
            }
            let epoch = lead.term.epoch;
            let appended = self
                .statements
                .append(self.session, epoch, &draft.growth, self.channel);
            match appended.await {
                Ok(true) => {
                    lead.chains.extend(draft.chains);
                    lead.term.recorded = draft.recorded;
                    return Ok(draft.answers);
                }
                // Another session sequences by now; this one begins anew.
                Ok(false) => return Err(PgError::Connection(None)),
                Err(PgError::Refused(code)) if code == UNIQUE_VIOLATION && !asked => {
                    known = self.statements.known(self.session, &ids).await?;
                    asked = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads the heads of the logs that will grow, where they are not at hand.
    async fn read_heads(
        &self,
        lead: &mut Lead,
        appends: &[&Append],
        boxed: &[Boxed],
    ) -> Result<(), PgError> {
        let queued = appends.iter().map(|append| append.log);
        let logs = queued.chain(boxed.iter().filter_map(|row| row.log));
        let mut missing: Vec<LogId> = logs.filter(|log| !lead.chains.contains_key(log)).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let heads = self.statements.heads(self.session, &missing).await?;
        for head in heads {
            // Somebody changed it; the log does not go on from there.
            let chain = head.chain().map_err(|_| PgError::Malformed)?;
            lead.chains.insert(head.log, chain);
        }
        for log in missing {
            lead.chains.entry(log).or_insert_with(|| Chain::new(log));
        }
        Ok(())
    }
}

/// A round before the server has it.
struct Draft<'a> {
    growth: Growth,
    /// The logs as they will be; each has its number among those that grow.
    chains: HashMap<LogId, Chain>,
    numbers: HashMap<LogId, i64>,
    recorded: Timestamp,
    now: Timestamp,
    /// What stands in the log by this round.
    fresh: HashMap<EventId, Receipt>,
    known: &'a HashMap<EventId, Receipt>,
    set_aside: Vec<i64>,
    answers: Answers,
}

impl<'a> Draft<'a> {
    fn of(
        lead: &Lead,
        appends: &[&Append],
        boxed: &[Boxed],
        known: &'a HashMap<EventId, Receipt>,
        now: Timestamp,
    ) -> Result<Self, PgError> {
        let mut draft = Self {
            growth: Growth::default(),
            chains: HashMap::new(),
            numbers: HashMap::new(),
            recorded: lead.term.recorded,
            now,
            fresh: HashMap::new(),
            known,
            set_aside: Vec::new(),
            answers: Answers::default(),
        };
        for row in boxed {
            draft.take_boxed(lead, row)?;
        }
        for append in appends {
            let answer = match draft.repeated(append.log, &append.ids) {
                Some(answer) => {
                    let many = answer.as_ref().map_or(0, Vec::len);
                    draft.answers.repeats += many as u64;
                    draft.answers.fresh.push(false);
                    answer
                }
                None => {
                    draft.answers.fresh.push(true);
                    Ok(draft.stage(lead, append.log, &append.ids, &append.tails)?)
                }
            };
            draft.answers.answers.push(answer);
        }
        draft.close(lead)?;
        Ok(draft)
    }

    fn take_boxed(&mut self, lead: &Lead, row: &Boxed) -> Result<(), PgError> {
        let fits = |log: LogId| {
            let mut both = row.ids.iter().zip(&row.tails);
            row.ids.len() == row.tails.len()
                && both.all(|(id, tail)| staged_event(log, tail) == Ok(*id))
        };
        let Some(log) = row.log.filter(|log| fits(*log)) else {
            self.set_aside.push(row.place);
            self.answers.set_aside += 1;
            return Ok(());
        };
        self.growth.drained.push(row.place);
        if self.repeated(log, &row.ids).is_none() {
            self.stage(lead, log, &row.ids, &row.tails)?;
            let alerts = row.tails.iter().filter_map(|tail| alert_of(&log, tail));
            self.answers.alerts.extend(alerts);
        }
        Ok(())
    }

    fn repeated(&self, log: LogId, ids: &[EventId]) -> Option<Result<Vec<Receipt>, AuditError>> {
        let known = ids
            .iter()
            .filter_map(|id| self.fresh.get(id).or_else(|| self.known.get(id)).copied());
        let answer = repeats(log, ids, known.collect())?;
        Some(answer.map_err(AuditError::Batch))
    }

    fn stage(
        &mut self,
        lead: &Lead,
        log: LogId,
        ids: &[EventId],
        tails: &[Vec<u8>],
    ) -> Result<Vec<Receipt>, PgError> {
        let next = self.numbers.len() as i64 + 1;
        let number = *self.numbers.entry(log).or_insert(next);
        let chain = match self.chains.entry(log) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(new) => {
                let kept = lead.chains.get(&log).cloned();
                new.insert(kept.unwrap_or_else(|| Chain::new(log)))
            }
        };
        let mut receipts = Vec::with_capacity(ids.len());
        for (id, tail) in ids.iter().zip(tails) {
            self.recorded = next_recorded(self.now, self.recorded);
            // Whoever handed it over has judged its length.
            let leaf = chain.append(self.recorded, tail);
            let leaf = leaf.map_err(|_| PgError::Malformed)?;
            let receipt = Receipt {
                log,
                index: leaf.index,
                leaf: leaf.leaf,
                recorded: self.recorded,
            };
            self.answers.entries += 1;
            self.answers.bytes += leaf.bytes.len() as u64;
            self.answers.new_logs += u64::from(leaf.index == 0);
            self.fresh.insert(*id, receipt);
            self.growth.entries.push((number, *id, self.recorded, leaf));
            receipts.push(receipt);
        }
        Ok(receipts)
    }

    /// Names the logs that grow, in the order of their numbers.
    fn close(&mut self, lead: &Lead) -> Result<(), PgError> {
        let mut logs: Vec<(i64, LogId)> =
            self.numbers.iter().map(|(log, at)| (*at, *log)).collect();
        logs.sort_unstable();
        for (_, log) in logs {
            let before = lead.chains.get(&log).map_or(0, |chain| chain.head().size);
            let after = self.chains.get(&log).ok_or(PgError::Malformed)?;
            self.growth.logs.push((log, before, after.state()));
        }
        self.growth.recorded = Some(self.recorded);
        Ok(())
    }
}
