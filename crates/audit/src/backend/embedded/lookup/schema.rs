//! The tables of the index file. Version 1; another one is thrown away.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `cursor` | version, segment, offset, next batch, chain |
//! | `logs` | number | origin, number of leaves |
//! | `tiles` | number, level, tile | the perfect subtrees of up to 256 hashes, in the order in which they became full |
//! | `postings` | number, kind, value, first index | how many came before, and the indexes that follow |

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError};

use super::LookupError;
use crate::log_id::LogId;
use crate::scan::Cursor;
use crate::segment;
use eonpro_core::event::Digest;

pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const LOGS: TableDefinition<'static, u32, (&str, u64)> = TableDefinition::new("logs");
pub(super) const TILES: TableDefinition<'static, &TileKey, &[u8]> = TableDefinition::new("tiles");
pub(super) const POSTINGS: TableDefinition<'static, &PostingKey, &[u8]> =
    TableDefinition::new("postings");

/// Log, level, tile; big endian.
pub(super) type TileKey = [u8; 13];
/// Log, kind, value, first index; big endian.
pub(super) type PostingKey = [u8; 21];

pub(super) const CURSOR: &str = "cursor";
const VERSION: u64 = 1;
const CURSOR_BYTES: usize = 4 * 8 + 32;

/// What an index file says of itself.
#[derive(Debug)]
pub(super) struct Stored {
    /// The segment that comes next, and how far it was read.
    pub(super) segment: u64,
    pub(super) cursor: Cursor,
    /// The logs by number, with their sizes.
    pub(super) logs: Vec<(LogId, u64)>,
}

impl Stored {
    /// `None` if it is of another version, or malformed.
    pub(super) fn read(store: &Database) -> Result<Option<Self>, LookupError> {
        let read = store.begin_read()?;
        let meta = match read.open_table(META) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            other => other?,
        };
        let Some(cursor) = meta.get(CURSOR)? else {
            return Ok(None);
        };
        let Some((segment, cursor)) = parse_cursor(cursor.value()) else {
            return Ok(None);
        };
        read.open_table(TILES)?;
        read.open_table(POSTINGS)?;
        let mut logs = Vec::new();
        for row in read.open_table(LOGS)?.iter()? {
            let (number, log) = row?;
            let (origin, size) = log.value();
            let Some(log) = LogId::parse(origin) else {
                return Ok(None);
            };
            if number.value() as usize != logs.len() {
                return Ok(None);
            }
            logs.push((log, size));
        }
        Ok(Some(Self {
            segment,
            cursor,
            logs,
        }))
    }

    /// Makes the tables of a new file.
    pub(super) fn begin(store: &Database) -> Result<Self, LookupError> {
        let stored = Self {
            segment: 0,
            cursor: Cursor {
                offset: 0,
                batch: 0,
                chain: segment::genesis(),
            },
            logs: Vec::new(),
        };
        let write = store.begin_write()?;
        {
            let bytes = cursor_bytes(stored.segment, &stored.cursor);
            write.open_table(META)?.insert(CURSOR, bytes.as_slice())?;
            write.open_table(LOGS)?;
            write.open_table(TILES)?;
            write.open_table(POSTINGS)?;
        }
        write.commit()?;
        Ok(stored)
    }
}

pub(super) fn cursor_bytes(segment: u64, cursor: &Cursor) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CURSOR_BYTES);
    for number in [VERSION, segment, cursor.offset as u64, cursor.batch] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(cursor.chain.as_bytes());
    bytes
}

fn parse_cursor(bytes: &[u8]) -> Option<(u64, Cursor)> {
    let (version, rest) = bytes.split_first_chunk::<8>()?;
    let (segment, rest) = rest.split_first_chunk::<8>()?;
    let (offset, rest) = rest.split_first_chunk::<8>()?;
    let (batch, chain) = rest.split_first_chunk::<8>()?;
    if u64::from_be_bytes(*version) != VERSION {
        return None;
    }
    let cursor = Cursor {
        offset: usize::try_from(u64::from_be_bytes(*offset)).ok()?,
        batch: u64::from_be_bytes(*batch),
        chain: Digest::from_bytes(chain.try_into().ok()?),
    };
    Some((u64::from_be_bytes(*segment), cursor))
}
