//! Where a log says what: for each patient, actor, code, outcome and trace the indexes of its entries.
//!
//! Values are kept as eight bytes of a hash. Two values that share them cost a look at an entry, which is
//! compared with the question anyway. Indexes stand in chunks: a hundred thousand entries with one code take
//! a few bytes each, and the chunk with an index is one step down the tree.

use std::sync::Arc;

use redb::{ReadOnlyTable, ReadableTable, Table};

use super::LookupError;
use super::schema::PostingKey;
use crate::facts::Facts;
use crate::merkle::sha256;
use crate::query::{Order, Query};

/// How many indexes a chunk has at most.
const CHUNK: usize = 256;
const BEFORE_BYTES: usize = 8;

/// Log, kind, value: what all chunks of one list share.
pub(super) type ListKey = [u8; 13];

/// One condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Asked {
    kind: u8,
    value: [u8; 8],
}

impl Asked {
    fn new(kind: u8, text: &str) -> Self {
        let hash = sha256(&[b"eonpro/audit/index", &[kind], text.as_bytes()]);
        let mut value = [0; 8];
        for (to, from) in value.iter_mut().zip(hash.as_bytes()) {
            *to = *from;
        }
        Self { kind, value }
    }

    fn patient(id: &str) -> Self {
        Self::new(1, id)
    }

    fn actor(id: &str) -> Self {
        Self::new(2, id)
    }

    fn code(code: &str) -> Self {
        Self::new(3, code)
    }

    fn outcome(code: u8) -> Self {
        Self::new(4, &code.to_string())
    }

    fn trace(id: &str) -> Self {
        Self::new(5, id)
    }

    /// The conditions of `query` that have lists.
    pub(in super::super) fn of(query: &Query) -> Vec<Self> {
        let patient = query
            .called
            .map(|called| Self::patient(&called.to_string()));
        let actor = query.actor.as_ref().map(|id| Self::actor(id.as_str()));
        let code = query.code.as_ref().map(|code| Self::code(code.as_str()));
        let outcome = query.outcome.map(|outcome| Self::outcome(outcome.code()));
        let trace = query.trace.as_ref().map(|id| Self::trace(id.as_str()));
        let all = [patient, actor, code, outcome, trace];
        all.into_iter().flatten().collect()
    }

    /// What an entry says.
    pub(super) fn said(facts: &Facts<'_>) -> Vec<Self> {
        let mut said = vec![
            Self::actor(&facts.actor.id),
            Self::code(&facts.code),
            Self::outcome(facts.outcome),
            Self::trace(&facts.trace),
        ];
        for subject in facts.subjects() {
            let patient = Self::patient(subject);
            if !said.contains(&patient) {
                said.push(patient);
            }
        }
        said
    }

    pub(super) fn of_log(self, log: u32) -> ListKey {
        let mut key = [0; 13];
        let parts = log.to_be_bytes().into_iter().chain([self.kind]);
        for (to, from) in key.iter_mut().zip(parts.chain(self.value)) {
            *to = from;
        }
        key
    }
}

fn key(list: &ListKey, first: u64) -> PostingKey {
    let mut key = [0; 21];
    let parts = list.iter().copied().chain(first.to_be_bytes());
    for (to, from) in key.iter_mut().zip(parts) {
        *to = from;
    }
    key
}

/// Some neighbouring indexes of a list.
#[derive(Debug, Default)]
struct Chunk {
    /// How many indexes of the list come before.
    before: u64,
    indexes: Vec<u64>,
}

impl Chunk {
    fn parse(key: &PostingKey, value: &[u8]) -> Option<Self> {
        let first = u64::from_be_bytes(*key.last_chunk::<8>()?);
        let (before, mut rest) = value.split_first_chunk::<BEFORE_BYTES>()?;
        let mut indexes = vec![first];
        let mut last = first;
        while !rest.is_empty() {
            let (step, after) = take_number(rest)?;
            last = last.checked_add(step).filter(|_| step > 0)?;
            indexes.push(last);
            rest = after;
        }
        Some(Self {
            before: u64::from_be_bytes(*before),
            indexes,
        })
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.before.to_be_bytes().to_vec();
        for pair in self.indexes.windows(2) {
            if let [left, right] = pair {
                push_number(&mut bytes, right - left);
            }
        }
        bytes
    }

    fn total(&self) -> u64 {
        self.before.saturating_add(self.indexes.len() as u64)
    }
}

/// LEB128.
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn take_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    let mut rest = bytes;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        rest = after;
        if byte & 0x80 == 0 {
            return Some((number, rest));
        }
    }
    None
}

type Rows<'a> = Table<'a, &'static PostingKey, &'static [u8]>;

/// Appends `indexes`, which grow, to a list.
pub(super) fn append(
    table: &mut Rows<'_>,
    list: &ListKey,
    indexes: &[u64],
) -> Result<(), LookupError> {
    let mut chunk = last_chunk(table, list, u64::MAX)?.unwrap_or_default();
    for index in indexes {
        if chunk.indexes.last().is_some_and(|last| last >= index) {
            return Err(LookupError::Untrue);
        }
        if chunk.indexes.len() >= CHUNK {
            write(table, list, &chunk)?;
            chunk = Chunk {
                before: chunk.total(),
                indexes: Vec::new(),
            };
        }
        chunk.indexes.push(*index);
    }
    write(table, list, &chunk)
}

fn write(table: &mut Rows<'_>, list: &ListKey, chunk: &Chunk) -> Result<(), LookupError> {
    if let Some(first) = chunk.indexes.first() {
        table.insert(&key(list, *first), chunk.bytes().as_slice())?;
    }
    Ok(())
}

/// The last chunk that begins at `index` or before.
fn last_chunk(
    table: &impl ReadableTable<&'static PostingKey, &'static [u8]>,
    list: &ListKey,
    index: u64,
) -> Result<Option<Chunk>, LookupError> {
    let range = key(list, 0)..=key(list, index);
    chunk(
        table
            .range::<&PostingKey>(range.start()..=range.end())?
            .next_back(),
    )
}

/// The first chunk that begins after `index`.
fn next_chunk(
    table: &impl ReadableTable<&'static PostingKey, &'static [u8]>,
    list: &ListKey,
    index: u64,
) -> Result<Option<Chunk>, LookupError> {
    let Some(from) = index.checked_add(1) else {
        return Ok(None);
    };
    let range = key(list, from)..=key(list, u64::MAX);
    chunk(
        table
            .range::<&PostingKey>(range.start()..=range.end())?
            .next(),
    )
}

type Row<'a> = (
    redb::AccessGuard<'a, &'static PostingKey>,
    redb::AccessGuard<'a, &'static [u8]>,
);

fn chunk(row: Option<Result<Row<'_>, redb::StorageError>>) -> Result<Option<Chunk>, LookupError> {
    let Some(row) = row else { return Ok(None) };
    let (key, value) = row?;
    let chunk = Chunk::parse(key.value(), value.value());
    chunk.ok_or(LookupError::Untrue).map(Some)
}

/// The indexes of one list, found one after the other.
pub(in super::super) struct Posting {
    table: Arc<ReadOnlyTable<&'static PostingKey, &'static [u8]>>,
    list: ListKey,
    chunk: Vec<u64>,
    total: u64,
}

impl std::fmt::Debug for Posting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Posting")
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl Posting {
    pub(super) fn open(
        table: &Arc<ReadOnlyTable<&'static PostingKey, &'static [u8]>>,
        list: ListKey,
    ) -> Result<Self, LookupError> {
        let last = last_chunk(&**table, &list, u64::MAX)?;
        Ok(Self {
            table: Arc::clone(table),
            list,
            total: last.as_ref().map_or(0, Chunk::total),
            chunk: last.unwrap_or_default().indexes,
        })
    }

    /// How many indexes the list says that it has.
    pub(in super::super) fn total(&self) -> u64 {
        self.total
    }

    /// The first index that is `at` or follows it in `order`.
    pub(in super::super) fn seek(
        &mut self,
        at: u64,
        order: Order,
    ) -> Result<Option<u64>, LookupError> {
        let within = matches!(
            (self.chunk.first(), self.chunk.last()),
            (Some(first), Some(last)) if *first <= at && at <= *last
        );
        if !within {
            let chunk = last_chunk(&*self.table, &self.list, at)?;
            self.chunk = chunk.unwrap_or_default().indexes;
        }
        match order {
            Order::NewestFirst => {
                let behind = self.chunk.partition_point(|index| *index <= at);
                let before = behind.checked_sub(1);
                Ok(before.and_then(|at| self.chunk.get(at)).copied())
            }
            Order::OldestFirst => {
                let before = self.chunk.partition_point(|index| *index < at);
                if let Some(found) = self.chunk.get(before) {
                    return Ok(Some(*found));
                }
                let next = next_chunk(&*self.table, &self.list, at)?;
                self.chunk = next.unwrap_or_default().indexes;
                Ok(self.chunk.first().copied())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_chunk_reads_back(before: u64, steps in prop::collection::vec(1_u64..1 << 40, 0..50)) {
            let mut indexes = vec![7];
            for step in steps {
                indexes.push(indexes[indexes.len() - 1] + step);
            }
            let chunk = Chunk { before, indexes };
            let key = key(&[9; 13], 7);
            let read = Chunk::parse(&key, &chunk.bytes()).unwrap();
            prop_assert_eq!(read.before, before);
            prop_assert_eq!(read.indexes, chunk.indexes);
        }

        #[test]
        fn no_bytes_make_the_parser_panic(
            first: u64,
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Some(chunk) = Chunk::parse(&key(&[0; 13], first), &bytes) {
                prop_assert!(chunk.indexes.is_sorted());
                let _ = chunk.total();
            }
        }
    }
}
