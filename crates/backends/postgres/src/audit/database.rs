//! What the audit log asks of the server, and what its rows say.

use std::collections::HashMap;

use eonpro_audit::sequence::{Chain, ChainLeaf, Taken};
use eonpro_audit::{Fault, LogId, Place, Receipt, VerifyError};
use eonpro_core::event::Digest;
use eonpro_core::id::EventId;
use eonpro_core::time::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::error::PgError;
use crate::pool::{Connections, Parameter, column};

/// How many rows are asked for at a time: of at most 64 KiB each.
pub(super) const PAGE: usize = 256;

/// Runs one statement.
pub(super) trait Ask: Sync {
    /// Runs one statement, which may be run twice.
    fn ask(
        &self,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> impl Future<Output = Result<Vec<Row>, PgError>> + Send;
}

impl Ask for Connections {
    async fn ask(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, PgError> {
        self.read(sql, parameters).await
    }
}

/// The texts of the statements, for one schema.
#[derive(Debug)]
pub(super) struct Statements {
    /// The schema's name in quotes.
    pub(super) schema: String,
    lead: String,
    append: String,
    sign: String,
    sign_head: String,
    forward: String,
    set_aside: String,
    outbox: String,
    staying: String,
    heads: String,
    all_heads: String,
    known: String,
    entries: String,
    signed: String,
    note: String,
    strays: String,
    hashes: String,
    /// For applications.
    pub(super) stage: String,
}

impl Statements {
    pub(super) fn of(schema: &str) -> Self {
        let s = format!("\"{schema}\"");
        Self {
            schema: s.clone(),
            lead: format!("SELECT epoch, recorded FROM {s}.audit_lead($1)"),
            append: format!(
                "SELECT {s}.audit_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
            ),
            sign: format!("SELECT {s}.audit_sign($1, $2, $3, $4, $5, $6)"),
            sign_head: format!("SELECT {s}.audit_sign_head($1, $2)"),
            forward: format!("SELECT {s}.audit_forward($1, $2, $3, $4)"),
            set_aside: format!("SELECT {s}.audit_set_aside($1, $2)::text"),
            // What a transaction staged waits until no earlier one is under way, so that entries come in
            // an order of their transactions. What was forwarded has no such order.
            outbox: format!(
                "SELECT place, log, ids::text[], tails FROM {s}.audit_outbox \
                 WHERE NOT refused \
                   AND (forwarded OR staged_by < pg_snapshot_xmin(pg_current_snapshot())) \
                 ORDER BY staged_by, place LIMIT {PAGE}"
            ),
            staying: format!("SELECT place, refused FROM {s}.audit_outbox WHERE place = ANY ($1)"),
            heads: format!("SELECT log, size, state FROM {s}.audit_head WHERE log = ANY ($1)"),
            // Entries beyond a head, by the same snapshot.
            all_heads: format!(
                "SELECT h.log, h.size, h.state, EXISTS ( \
                   SELECT FROM {s}.audit_entry e WHERE e.log = h.log AND e.index >= h.size) \
                 FROM {s}.audit_head h ORDER BY h.log"
            ),
            known: format!(
                "SELECT id::text, log, index, leaf, recorded FROM {s}.audit_entry \
                 WHERE id = ANY ($1::text[]::uuid[])"
            ),
            entries: format!(
                "SELECT index, id::text, recorded, bytes, leaf FROM {s}.audit_entry \
                 WHERE log = $1 AND index >= $2 AND index < $3 ORDER BY index LIMIT $4"
            ),
            signed: format!("SELECT log, size FROM {s}.audit_signed"),
            note: format!("SELECT note FROM {s}.audit_signed WHERE log = $1"),
            strays: format!(
                "SELECT min(e.log) FROM {s}.audit_entry e WHERE NOT EXISTS ( \
                   SELECT FROM {s}.audit_head h WHERE h.log = e.log)"
            ),
            hashes: format!(
                "SELECT index / 256, string_agg(leaf, ''::bytea ORDER BY index) FROM {s}.audit_entry \
                 WHERE log = $1 AND index >= $2 AND index < $3 GROUP BY 1 ORDER BY 1"
            ),
            stage: format!("SELECT {s}.audit_stage($1, $2, $3)"),
        }
    }
}

/// Who sequences: under which epoch, and how far recording time has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    pub(super) epoch: i64,
    pub(super) recorded: Timestamp,
}

/// A row of the outbox.
#[derive(Debug)]
pub(super) struct Boxed {
    pub(super) place: i64,
    pub(super) log: Option<LogId>,
    pub(super) ids: Vec<EventId>,
    pub(super) tails: Vec<Vec<u8>>,
}

/// A head as its row has it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) log: LogId,
    pub(super) size: u64,
    pub(super) state: Vec<u8>,
    /// Whether there are entries beyond it.
    pub(super) exceeded: bool,
}

impl Head {
    /// What the row says, if it can be.
    pub(super) fn chain(&self) -> Result<Chain, VerifyError> {
        let chain = Chain::restore(self.log, self.size, &self.state);
        chain.ok_or_else(|| self.bad(Fault::Root))
    }

    pub(super) fn bad(&self, fault: Fault) -> VerifyError {
        let index = self.size.saturating_sub(1);
        tampered(self.log, index, fault)
    }
}

pub(super) fn tampered(log: LogId, index: u64, fault: Fault) -> VerifyError {
    let place = Place::Entry { log, index };
    VerifyError::Tampered { place, fault }
}

/// An entry as its row has it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) index: u64,
    pub(super) bytes: Vec<u8>,
    id: Option<EventId>,
    recorded: Option<Timestamp>,
    leaf: Option<Digest>,
}

impl Entry {
    pub(super) fn of(row: &Row) -> Result<Self, PgError> {
        let id: Option<&str> = column(row, 1)?;
        let recorded: Option<i64> = column(row, 2)?;
        Ok(Self {
            index: number(row, 0)?,
            id: id.map(event).transpose()?,
            recorded: recorded.map(Timestamp::from_nanos),
            bytes: column(row, 3)?,
            leaf: digest(column(row, 4)?),
        })
    }

    /// Whether the columns say what the bytes say.
    pub(super) fn agrees(&self, taken: &Taken) -> bool {
        let recorded = taken.event.map(|_| taken.recorded);
        (self.leaf, self.id, self.recorded) == (Some(taken.leaf), taken.event, recorded)
    }

    /// Whether the bytes are those that were hashed.
    pub(super) fn is_whole(&self) -> bool {
        self.leaf == Some(eonpro_audit::merkle::leaf_hash(&self.bytes))
    }
}

/// What is appended in one statement.
#[derive(Debug, Default)]
pub(super) struct Growth {
    pub(super) recorded: Option<Timestamp>,
    /// The logs with their sizes before, and their states after.
    pub(super) logs: Vec<(LogId, u64, Vec<u8>)>,
    /// The entries: the number of the log, from 1; the event; the recording time; the leaf.
    pub(super) entries: Vec<(i64, EventId, Timestamp, ChainLeaf)>,
    /// What leaves the outbox.
    pub(super) drained: Vec<i64>,
}

fn digest(bytes: &[u8]) -> Option<Digest> {
    Some(Digest::from_bytes(bytes.try_into().ok()?))
}

fn event(text: &str) -> Result<EventId, PgError> {
    let id = Uuid::try_parse(text).map_err(|_| PgError::Malformed)?;
    Ok(EventId::from_uuid(id))
}

pub(super) fn number(row: &Row, index: usize) -> Result<u64, PgError> {
    let value: i64 = column(row, index)?;
    u64::try_from(value).map_err(|_| PgError::Malformed)
}

fn log(row: &Row, index: usize) -> Result<LogId, PgError> {
    LogId::parse(column(row, index)?).ok_or(PgError::Malformed)
}

fn flag(rows: &[Row]) -> Result<bool, PgError> {
    column(rows.first().ok_or(PgError::Malformed)?, 0)
}

fn texts(ids: &[EventId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// A size or an index as the server has it.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Statements {
    /// The term that begins, unless another session sequences.
    pub(super) async fn lead(&self, on: &impl Ask, lock: i64) -> Result<Option<Term>, PgError> {
        let rows = on.ask(&self.lead, &[(&lock, Type::INT8)]).await?;
        let term = rows.first().map(|row| {
            let recorded = Timestamp::from_nanos(column(row, 1)?);
            let epoch = column(row, 0)?;
            Ok(Term { epoch, recorded })
        });
        term.transpose()
    }

    /// Appends; false if the epoch is over.
    pub(super) async fn append(
        &self,
        on: &impl Ask,
        epoch: i64,
        growth: &Growth,
        channel: &str,
    ) -> Result<bool, PgError> {
        let recorded = growth.recorded.map_or(i64::MIN, Timestamp::nanos);
        let heads = &growth.logs;
        let logs: Vec<String> = heads.iter().map(|(log, ..)| log.to_string()).collect();
        let before: Vec<i64> = heads.iter().map(|(_, size, _)| signed(*size)).collect();
        let states: Vec<&[u8]> = heads.iter().map(|(.., state)| state.as_slice()).collect();
        let entries = &growth.entries;
        let of: Vec<i64> = entries.iter().map(|(log, ..)| *log).collect();
        let ids: Vec<String> = entries.iter().map(|(_, id, ..)| id.to_string()).collect();
        let times: Vec<i64> = entries.iter().map(|(_, _, at, _)| at.nanos()).collect();
        let bytes: Vec<&[u8]> = entries
            .iter()
            .map(|(.., leaf)| leaf.bytes.as_slice())
            .collect();
        let hashes = entries
            .iter()
            .map(|(.., leaf)| leaf.leaf.as_bytes().as_slice());
        let hashes: Vec<&[u8]> = hashes.collect();
        let parameters: [Parameter<'_>; 12] = [
            (&epoch, Type::INT8),
            (&recorded, Type::INT8),
            (&logs, Type::TEXT_ARRAY),
            (&before, Type::INT8_ARRAY),
            (&states, Type::BYTEA_ARRAY),
            (&of, Type::INT8_ARRAY),
            (&ids, Type::TEXT_ARRAY),
            (&times, Type::INT8_ARRAY),
            (&bytes, Type::BYTEA_ARRAY),
            (&hashes, Type::BYTEA_ARRAY),
            (&growth.drained, Type::INT8_ARRAY),
            (&channel, Type::TEXT),
        ];
        flag(&on.ask(&self.append, &parameters).await?)
    }

    /// Extends the directory log by signed heads; false if it has another size than `before`.
    pub(super) async fn sign(
        &self,
        on: &impl Ask,
        before: u64,
        state: &[u8],
        notes: &[(LogId, u64, String, Digest)],
    ) -> Result<bool, PgError> {
        let before = signed(before);
        let logs: Vec<String> = notes.iter().map(|(log, ..)| log.to_string()).collect();
        let sizes: Vec<i64> = notes.iter().map(|(_, size, ..)| signed(*size)).collect();
        let texts: Vec<&str> = notes.iter().map(|(_, _, note, _)| note.as_str()).collect();
        let leaves = notes.iter().map(|(.., leaf)| leaf.as_bytes().as_slice());
        let leaves: Vec<&[u8]> = leaves.collect();
        let parameters: [Parameter<'_>; 6] = [
            (&before, Type::INT8),
            (&state, Type::BYTEA),
            (&logs, Type::TEXT_ARRAY),
            (&sizes, Type::INT8_ARRAY),
            (&texts, Type::TEXT_ARRAY),
            (&leaves, Type::BYTEA_ARRAY),
        ];
        flag(&on.ask(&self.sign, &parameters).await?)
    }

    /// Keeps the signed head of the directory log, unless there is one of that size or a larger one.
    pub(super) async fn sign_head(
        &self,
        on: &impl Ask,
        size: u64,
        note: &str,
    ) -> Result<(), PgError> {
        let size = signed(size);
        let parameters: [Parameter<'_>; 2] = [(&size, Type::INT8), (&note, Type::TEXT)];
        on.ask(&self.sign_head, &parameters).await?;
        Ok(())
    }

    /// Hands an append to whoever sequences; tells its place in the outbox.
    pub(super) async fn forward(
        &self,
        on: &impl Ask,
        log: LogId,
        ids: &[EventId],
        tails: &[Vec<u8>],
        channel: &str,
    ) -> Result<i64, PgError> {
        let (log, ids) = (log.to_string(), texts(ids));
        let tails: Vec<&[u8]> = tails.iter().map(Vec::as_slice).collect();
        let parameters: [Parameter<'_>; 4] = [
            (&log, Type::TEXT),
            (&ids, Type::TEXT_ARRAY),
            (&tails, Type::BYTEA_ARRAY),
            (&channel, Type::TEXT),
        ];
        let rows = on.ask(&self.forward, &parameters).await?;
        column(rows.first().ok_or(PgError::Malformed)?, 0)
    }

    pub(super) async fn set_aside(
        &self,
        on: &impl Ask,
        epoch: i64,
        places: &[i64],
    ) -> Result<(), PgError> {
        let parameters: [Parameter<'_>; 2] = [(&epoch, Type::INT8), (&places, Type::INT8_ARRAY)];
        on.ask(&self.set_aside, &parameters).await?;
        Ok(())
    }

    /// The next rows of the outbox whose turn it is.
    pub(super) async fn outbox(&self, on: &impl Ask) -> Result<Vec<Boxed>, PgError> {
        let rows = on.ask(&self.outbox, &[]).await?;
        let boxed = rows.iter().map(|row| {
            let ids: Vec<&str> = column(row, 2)?;
            let ids = ids.into_iter().map(event).collect::<Result<_, _>>()?;
            Ok(Boxed {
                place: column(row, 0)?,
                log: LogId::parse(column(row, 1)?),
                ids,
                tails: column(row, 3)?,
            })
        });
        boxed.collect()
    }

    /// Which of `places` are in the outbox still, and whether they were refused.
    pub(super) async fn staying(
        &self,
        on: &impl Ask,
        places: &[i64],
    ) -> Result<HashMap<i64, bool>, PgError> {
        let rows = on
            .ask(&self.staying, &[(&places, Type::INT8_ARRAY)])
            .await?;
        let places = rows
            .iter()
            .map(|row| Ok((column(row, 0)?, column(row, 1)?)));
        places.collect()
    }

    fn head(row: &Row) -> Result<Head, PgError> {
        let state: &[u8] = column(row, 2)?;
        Ok(Head {
            log: log(row, 0)?,
            size: number(row, 1)?,
            state: state.to_vec(),
            exceeded: false,
        })
    }

    /// The heads of `logs`, as far as there are any.
    pub(super) async fn heads(&self, on: &impl Ask, logs: &[LogId]) -> Result<Vec<Head>, PgError> {
        let logs: Vec<String> = logs.iter().map(ToString::to_string).collect();
        let rows = on.ask(&self.heads, &[(&logs, Type::TEXT_ARRAY)]).await?;
        rows.iter().map(Self::head).collect()
    }

    /// The heads of all logs.
    pub(super) async fn all_heads(&self, on: &impl Ask) -> Result<Vec<Head>, PgError> {
        let rows = on.ask(&self.all_heads, &[]).await?;
        let heads = rows.iter().map(|row| {
            let exceeded = column(row, 3)?;
            Ok(Head {
                exceeded,
                ..Self::head(row)?
            })
        });
        heads.collect()
    }

    /// The receipts of those of `ids` that stand in some log.
    pub(super) async fn known(
        &self,
        on: &impl Ask,
        ids: &[EventId],
    ) -> Result<HashMap<EventId, Receipt>, PgError> {
        let ids = texts(ids);
        let rows = on.ask(&self.known, &[(&ids, Type::TEXT_ARRAY)]).await?;
        let known = rows.iter().map(|row| {
            let receipt = Receipt {
                log: log(row, 1)?,
                index: number(row, 2)?,
                leaf: digest(column(row, 3)?).ok_or(PgError::Malformed)?,
                recorded: Timestamp::from_nanos(column(row, 4)?),
            };
            Ok((event(column(row, 0)?)?, receipt))
        });
        known.collect()
    }

    /// The next entries of `log` from `from` up to `until`.
    pub(super) async fn entries(
        &self,
        on: &impl Ask,
        log: LogId,
        from: u64,
        until: u64,
        limit: usize,
    ) -> Result<Vec<Entry>, PgError> {
        let (log, limit) = (log.to_string(), signed(limit as u64));
        let (from, until) = (signed(from), signed(until));
        let parameters: [Parameter<'_>; 4] = [
            (&log, Type::TEXT),
            (&from, Type::INT8),
            (&until, Type::INT8),
            (&limit, Type::INT8),
        ];
        let rows = on.ask(&self.entries, &parameters).await?;
        rows.iter().map(Entry::of).collect()
    }

    /// The largest signed size of each log.
    pub(super) async fn signed(&self, on: &impl Ask) -> Result<HashMap<LogId, u64>, PgError> {
        let rows = on.ask(&self.signed, &[]).await?;
        let sizes = rows.iter().map(|row| Ok((log(row, 0)?, number(row, 1)?)));
        sizes.collect()
    }

    /// The last signed head of `log`.
    pub(super) async fn note(&self, on: &impl Ask, log: LogId) -> Result<Option<String>, PgError> {
        let log = log.to_string();
        let rows = on.ask(&self.note, &[(&log, Type::TEXT)]).await?;
        rows.first().map(|row| column(row, 0)).transpose()
    }

    /// The hashes of the leaves from `from` up to `until`, by groups of 256: the number of each group with as
    /// many of its hashes as there are, one after the other.
    pub(super) async fn hashes(
        &self,
        on: &impl Ask,
        log: LogId,
        from: u64,
        until: u64,
    ) -> Result<Vec<(u64, Vec<Digest>)>, PgError> {
        let (log, from, until) = (log.to_string(), signed(from), signed(until));
        let parameters: [Parameter<'_>; 3] = [
            (&log, Type::TEXT),
            (&from, Type::INT8),
            (&until, Type::INT8),
        ];
        let rows = on.ask(&self.hashes, &parameters).await?;
        let groups = rows.iter().map(|row| {
            let bytes: &[u8] = column(row, 1)?;
            let (hashes, rest) = bytes.as_chunks::<32>();
            match rest {
                [] => Ok((
                    number(row, 0)?,
                    hashes.iter().copied().map(Digest::from_bytes).collect(),
                )),
                _ => Err(PgError::Malformed),
            }
        });
        groups.collect()
    }

    /// A log that has entries and no head.
    pub(super) async fn stray(&self, on: &impl Ask) -> Result<Option<String>, PgError> {
        let rows = on.ask(&self.strays, &[]).await?;
        column(rows.first().ok_or(PgError::Malformed)?, 0)
    }
}
