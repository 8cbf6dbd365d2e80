//! Asking the witnesses: each head of the directory log goes to all of them, and their lines are added to
//! the file `checkpoint`.
//!
//! All answers are awaited, also after a quorum is there: the one that knows a later state is the one that
//! counts. Proofs come from the leaves of the directory log, read back from the disk.

use std::sync::Arc;

use eonpro_core::event::{Digest, Outcome};
use eonpro_core::id::EventId;
use eonpro_core::port::Alert;
use eonpro_core::task;
use eonpro_core::time::{Monotonic, SharedClock};
use futures_util::future::{Either, join_all, select};

use super::alerts::Notice;
use super::entries::Entries;
use super::index::{Index, count};
use super::open_log::OpenLog;
use crate::checkpoint::Checkpoint;
use crate::error::AuditError;
use crate::events;
use crate::fault::{Fault, Place, VerifyError};
use crate::head::{HeadConflict, Keeper};
use crate::layout::{CHECKPOINT, Layout};
use crate::log_id::LogId;
use crate::merkle::{CompactRange, Plan};
use crate::tlog::{AddCheckpoint, Answer, MAX_SIGNATURES, Note, Refusal, SignatureLine};
use crate::witness::{Witness, Witnesses};

/// How often one witness is asked about one head: once blindly, once from the size that it knows, and once
/// more if somebody else asked it meanwhile.
const TRIES: usize = 3;

/// What came of asking.
#[derive(Debug)]
pub(super) enum Round {
    /// There was nothing to ask.
    Quiet,
    /// A quorum has cosigned the head, of which this is the digest of the note.
    Quorum(Checkpoint, Digest),
    /// Too few have, and how long that is so.
    Short(std::time::Duration),
}

/// What one witness says.
#[derive(Debug)]
enum Verdict {
    Cosigned(Vec<SignatureLine>),
    /// It cosigned a larger size.
    Ahead(u64),
    /// What it cosigned at this size is not a part of ours.
    Another(u64),
    Nothing,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Cosigning {
    witnesses: Option<Witnesses>,
    clock: SharedClock,
    /// The size that each witness cosigned last, as far as is known.
    known: Vec<u64>,
    leaves: DirectoryLeaves,
    /// The last head that a quorum has cosigned.
    cosigned: Option<Checkpoint>,
    /// Since when a quorum is missing.
    short_since: Option<Monotonic>,
}

impl Cosigning {
    pub(super) fn new(witnesses: Option<Witnesses>, clock: SharedClock) -> Self {
        let many = witnesses.as_ref().map_or(0, |some| some.asked.len());
        Self {
            witnesses,
            clock,
            known: vec![0; many],
            leaves: DirectoryLeaves::default(),
            cosigned: None,
            short_since: None,
        }
    }

    /// Asks all witnesses to cosign `head`, which is published, unless a quorum has.
    ///
    /// # Errors
    /// [`AuditError::RolledBack`] and [`AuditError::Fork`] if one knows another log; if the directory does
    /// not read back.
    pub(super) async fn round(
        &mut self,
        head: &Checkpoint,
        layout: &Layout,
        index: &Arc<Index>,
    ) -> Result<Round, AuditError> {
        let Some(witnesses) = self.witnesses.clone() else {
            return Ok(Round::Quiet);
        };
        if self.cosigned.as_ref() == Some(head) {
            return Ok(Round::Quiet);
        }
        let note = self.read(head, layout, index).await?;
        let asking = witnesses.asked.iter().zip(&self.known).map(|(one, old)| {
            let exchange = exchange(&**one, *old, head, &note, &self.leaves);
            in_time(exchange, &self.clock, witnesses.timeout)
        });
        let verdicts = join_all(asking).await;
        let mut lines = Vec::new();
        let asked = witnesses.asked.iter().zip(&mut self.known);
        for ((witness, known), verdict) in asked.zip(verdicts) {
            let name = witness.key().name().as_str();
            match verdict {
                Verdict::Cosigned(some) => {
                    *known = head.size;
                    lines.extend(some);
                }
                Verdict::Ahead(size) => {
                    return Err(AuditError::RolledBack(conflict(name, size, head)));
                }
                Verdict::Another(size) => {
                    return Err(AuditError::Fork(conflict(name, size, head)));
                }
                Verdict::Nothing => {}
            }
        }
        let note = add(note, lines, layout).await?;
        let enough = witnesses.policy.is_cosigned(&note).unwrap_or(false);
        if enough {
            self.cosigned = Some(*head);
            self.short_since = None;
            return Ok(Round::Quorum(
                *head,
                Digest::of(note.to_string().as_bytes()),
            ));
        }
        let now = self.clock.monotonic();
        let since = *self.short_since.get_or_insert(now);
        Ok(Round::Short(now.since(since)))
    }

    /// The published note of `head`, and the leaves that it covers.
    async fn read(
        &mut self,
        head: &Checkpoint,
        layout: &Layout,
        index: &Arc<Index>,
    ) -> Result<Note, AuditError> {
        let (layout, index, size) = (layout.clone(), Arc::clone(index), head.size);
        let mut leaves = std::mem::take(&mut self.leaves);
        let read = task::blocking(move || {
            leaves.grow(size, &layout, &index)?;
            Ok::<_, AuditError>((leaves, layout.read_checkpoint()?))
        });
        let (leaves, text) = read.await.map_err(|_| AuditError::WorkerLost)??;
        let place = Place::entry(LogId::Directory, head.size.saturating_sub(1));
        if leaves.tree.root() != head.root {
            return Err(VerifyError::tampered(place, Fault::Root).into());
        }
        self.leaves = leaves;
        let note = text.and_then(|text| Note::parse(&text).ok());
        let note = note.filter(|note| note.text() == head.text());
        let place = Place::file(CHECKPOINT, 0);
        note.ok_or_else(|| VerifyError::tampered(place, Fault::Checkpoint).into())
    }
}

fn conflict(name: &str, size: u64, own: &Checkpoint) -> Box<HeadConflict> {
    Box::new(HeadConflict {
        keeper: Keeper::Witness(name.to_owned()),
        kept_size: size,
        kept_root: None,
        own: *own,
    })
}

async fn in_time(
    exchange: impl Future<Output = Verdict>,
    clock: &SharedClock,
    timeout: std::time::Duration,
) -> Verdict {
    let late = clock.sleep_until(clock.monotonic().plus(timeout));
    match select(Box::pin(exchange), late).await {
        Either::Left((verdict, _)) => verdict,
        Either::Right(_) => Verdict::Nothing,
    }
}

/// Asks one witness, which is believed to have cosigned size `old` last.
async fn exchange(
    witness: &dyn Witness,
    mut old: u64,
    head: &Checkpoint,
    note: &Note,
    leaves: &DirectoryLeaves,
) -> Verdict {
    let name = witness.key().name();
    for _ in 0..TRIES {
        let proof = leaves.consistency(old, head.size);
        let Ok(request) = AddCheckpoint::new(old, proof, note.clone()) else {
            return Verdict::Nothing;
        };
        let refusal = match witness.add_checkpoint(&request).await {
            Ok(Answer::Cosigned(lines)) => {
                let keys = std::slice::from_ref(witness.key());
                match request.accept(&lines, keys) {
                    Ok(lines) => return Verdict::Cosigned(lines),
                    Err(error) => {
                        tracing::warn!(witness = %name, %error, "a cosignature is not accepted");
                        return Verdict::Nothing;
                    }
                }
            }
            Ok(Answer::Refused(refusal)) => refusal,
            Ok(Answer::Other(status)) => {
                tracing::warn!(witness = %name, status, "a witness does not answer as one");
                return Verdict::Nothing;
            }
            Err(error) => {
                tracing::warn!(witness = %name, %error, "a witness gives no answer");
                return Verdict::Nothing;
            }
        };
        match refusal {
            Refusal::Conflict { size } if size > head.size => return Verdict::Ahead(size),
            Refusal::Conflict { size } if size != old => old = size,
            Refusal::Inconsistent if old > 0 => return Verdict::Another(old),
            refusal => {
                tracing::warn!(witness = %name, %refusal, "a witness does not cosign");
                return Verdict::Nothing;
            }
        }
    }
    Verdict::Nothing
}

/// Adds to the published note the lines of witnesses that it does not have yet.
async fn add(
    mut note: Note,
    lines: Vec<SignatureLine>,
    layout: &Layout,
) -> Result<Note, AuditError> {
    let before = note.signatures().len();
    for line in lines {
        let same = |one: &SignatureLine| one.name() == line.name() && one.key_id() == line.key_id();
        if !note.signatures().iter().any(same) && note.signatures().len() < MAX_SIGNATURES {
            // There is room for it.
            let _ = note.push(line);
        }
    }
    if note.signatures().len() > before {
        let (layout, text) = (layout.clone(), note.to_string());
        task::blocking(move || layout.replace(&layout.checkpoint(), text.as_bytes()))
            .await
            .map_err(|_| AuditError::WorkerLost)??;
    }
    Ok(note)
}

/// The hashes of the leaves of the directory log, as they are on disk: 32 bytes each.
#[derive(Debug, Default)]
struct DirectoryLeaves {
    hashes: Vec<Digest>,
    tree: CompactRange,
}

impl DirectoryLeaves {
    /// Reads on up to `size`. Blocks.
    fn grow(&mut self, size: u64, layout: &Layout, index: &Index) -> Result<(), AuditError> {
        let mut entries = Entries::new(layout, index, LogId::Directory);
        for at in self.hashes.len() as u64..size {
            let hash = entries.view(at)?.leaf();
            self.hashes.push(hash);
            self.tree.append(hash);
        }
        Ok(())
    }

    /// The proof that the tree of `new` leaves begins with that of `old`.
    fn consistency(&self, old: u64, new: u64) -> Vec<Digest> {
        let Ok(plan) = Plan::consistency(old, new) else {
            return Vec::new();
        };
        let hashes = plan.nodes().iter().map(|node| {
            let from = usize::try_from(node.index() << node.level()).ok()?;
            let until = usize::try_from(1_u64 << node.level()).ok()?;
            let leaves = self.hashes.get(from..from.checked_add(until)?)?;
            let mut tree = CompactRange::new();
            leaves.iter().for_each(|leaf| tree.append(*leaf));
            Some(tree.root())
        });
        let hashes: Option<Vec<Digest>> = hashes.collect();
        hashes
            .and_then(|hashes| plan.finish(&hashes))
            .unwrap_or_default()
    }
}

impl OpenLog {
    /// Records that a head was anchored, or lets people know that none was for too long.
    pub(super) async fn note_round(&self, round: &Round) {
        use std::sync::atomic::Ordering;
        let Some(witnesses) = &self.config.witnesses else {
            return;
        };
        match round {
            Round::Quiet => {}
            Round::Quorum(head, receipt) => {
                self.short.store(false, Ordering::Release);
                self.overdue.store(false, Ordering::Release);
                // Nobody would sign it any more; the lines in `checkpoint` say the same.
                if self.closed.load(Ordering::Acquire) {
                    return;
                }
                let event = events::anchored(head, *receipt);
                let recorded = self.record(LogId::System, event, Outcome::Success).await;
                if let Err(error) = recorded {
                    tracing::error!(%error, "an anchored audit checkpoint could not be recorded");
                }
            }
            Round::Short(since) => {
                self.short.store(true, Ordering::Release);
                let is_overdue = *since >= witnesses.overdue;
                if is_overdue && !self.overdue.swap(true, Ordering::AcqRel) {
                    self.raise_overdue();
                }
            }
        }
    }

    fn raise_overdue(&self) {
        tracing::error!("the audit log is not cosigned by a quorum of its witnesses");
        let alert = Alert {
            rule: events::OVERDUE,
            severity: eonpro_core::event::Severity::Error,
            tenant: None,
            event_code: "SEC-001",
            event: EventId::fresh(&*self.clock, &*self.entropy),
            at: self.clock.wall(),
        };
        // It is recorded as SEC-001 where it is delivered.
        if self
            .notices
            .try_send(Notice::Alert(LogId::System, alert))
            .is_err()
        {
            count(&self.index.counters.alerts_dropped, 1);
        }
    }
}

/// Asks again while a quorum is missing, until the log is closed or gone.
pub(super) fn keep_asking(log: &Arc<OpenLog>) {
    use std::sync::atomic::Ordering;
    let Some(retry) = log.config.witnesses.as_ref().map(|some| some.retry) else {
        return;
    };
    let (clock, log) = (Arc::clone(&log.clock), Arc::downgrade(log));
    task::start(async move {
        loop {
            clock.sleep_until(clock.monotonic().plus(retry)).await;
            let Some(log) = log.upgrade() else { return };
            if log.closed.load(Ordering::Acquire) {
                return;
            }
            if log.short.load(Ordering::Acquire)
                && let Err(error) = log.sign().await
            {
                tracing::error!(%error, "an audit checkpoint failed");
            }
        }
    });
}
