//! The index: hash tiles and the entries by what they say, in one redb file that can always be rebuilt.
//!
//! It is no evidence and it is not trusted. It follows the segments by a cursor that must agree with the
//! log's chain over its batches; what is read through it is checked against the entries and the signed
//! heads; and where it is damaged, of another log or untrue, it is thrown away and built anew.

mod follow;
mod postings;
mod schema;
mod tiles;

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase as _};

use super::index::{Durable, Index};
use crate::error::AuditError;
use crate::fault::VerifyError;
use crate::layout::{self, Layout};
use crate::log_id::LogId;
use schema::Stored;

pub(super) use follow::Followed;
pub(super) use postings::{Asked, Posting};
pub(super) use tiles::Tiles;

/// Bytes of redb's page cache.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Why nothing could be looked up.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// The index is not what follows from the log.
    #[error("audit index is untrue")]
    Untrue,
    /// The store failed.
    #[error("audit index failed")]
    Store(#[source] redb::Error),
    /// It is not the index that is wrong.
    #[error(transparent)]
    Log(#[from] AuditError),
}

impl LookupError {
    /// Whether a new index may help.
    pub(super) fn blames_index(&self) -> bool {
        match self {
            Self::Untrue => true,
            // A full disk is not mended by writing more.
            Self::Store(error) => !matches!(
                error,
                redb::Error::Io(_) | redb::Error::DatabaseAlreadyOpen | redb::Error::DatabaseClosed
            ),
            Self::Log(_) => false,
        }
    }
}

impl<E: Into<redb::Error>> From<E> for LookupError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl From<VerifyError> for LookupError {
    fn from(error: VerifyError) -> Self {
        Self::Log(error.into())
    }
}

impl From<LookupError> for AuditError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Log(error) => error,
            other => Self::Index(other.into()),
        }
    }
}

/// See the [module](self). All calls block.
#[derive(Debug)]
pub(super) struct Lookup {
    layout: Layout,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Not used yet, or thrown away.
    Unopened,
    Open(Open),
    Closed,
}

/// An index in use.
#[derive(Debug)]
struct Open {
    store: Arc<Database>,
    followed: Followed,
}

/// One consistent view of the index.
#[derive(Debug)]
pub(super) struct Reader {
    store: Arc<Database>,
    read: ReadTransaction,
    /// The log's number, if the index has it.
    number: Option<u32>,
}

impl Reader {
    /// The hash tiles of the log.
    pub(super) fn tiles(&self) -> Result<Tiles, LookupError> {
        let number = self.number.ok_or(LookupError::Untrue)?;
        Ok(Tiles::new(self.read.open_table(schema::TILES)?, number))
    }

    /// Where the log says each of `asked`, one list of indexes for each.
    pub(super) fn postings(&self, asked: &[Asked]) -> Result<Vec<Posting>, LookupError> {
        let number = self.number.ok_or(LookupError::Untrue)?;
        let table = Arc::new(self.read.open_table(schema::POSTINGS)?);
        let posting = |asked: &Asked| Posting::open(&table, asked.of_log(number));
        asked.iter().map(posting).collect()
    }
}

impl Lookup {
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            state: Mutex::new(State::Unopened),
        }
    }

    /// A view that covers at least the first `size` entries of `log`. Follows the log as far as `index`
    /// says that it is durable, if need be.
    pub(super) fn reader(
        &self,
        index: &Index,
        log: &LogId,
        size: u64,
    ) -> Result<Reader, LookupError> {
        {
            let mut state = self.lock();
            let open = self.opened(&mut state)?;
            if open.followed.is_checked() && open.followed.size(log) >= size {
                return open.reader(log);
            }
        }
        self.follow(index)?;
        let mut state = self.lock();
        let open = self.opened(&mut state)?;
        if open.followed.size(log) < size {
            return Err(LookupError::Untrue);
        }
        open.reader(log)
    }

    /// Follows the log to all that is durable at the call, a part at a time, so that others who need less
    /// are not kept waiting.
    pub(super) fn follow(&self, index: &Index) -> Result<(), LookupError> {
        let Some(goal) = index.durable() else {
            return Ok(());
        };
        loop {
            let mut state = self.lock();
            let open = self.opened(&mut state)?;
            if open.step(&self.layout, index, &goal)? {
                return Ok(());
            }
        }
    }

    /// Throws the index away, unless it is no longer the one of `reader`.
    pub(super) fn discard(&self, reader: Option<&Reader>) {
        let mut state = self.lock();
        if let (State::Open(open), Some(reader)) = (&*state, reader)
            && !Arc::ptr_eq(&open.store, &reader.store)
        {
            return;
        }
        if matches!(*state, State::Closed) {
            return;
        }
        tracing::warn!("the audit index is thrown away and built anew");
        // Removed before it is let go of: letting go writes.
        if let Err(error) = remove(&self.layout) {
            tracing::error!(error = %error.kind(), "the audit index could not be removed");
        }
        *state = State::Unopened;
    }

    /// Makes durable what there is, and gives the file back.
    pub(super) fn close(&self) {
        let state = std::mem::replace(&mut *self.lock(), State::Closed);
        if let State::Open(open) = state
            && let Err(error) = open.sync()
        {
            tracing::warn!(%error, "the audit index could not be synced");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened<'a>(&self, state: &'a mut State) -> Result<&'a mut Open, LookupError> {
        if matches!(state, State::Unopened) {
            *state = State::Open(Open::new(&self.layout)?);
        }
        match state {
            State::Open(open) => Ok(open),
            State::Unopened | State::Closed => Err(AuditError::Closed.into()),
        }
    }
}

impl Open {
    /// Opens the file if it is whole and of this version, else begins a new one.
    fn new(layout: &Layout) -> Result<Self, LookupError> {
        let found = create(layout).and_then(|store| Ok((Stored::read(&store)?, store)));
        let (stored, store) = match found {
            Ok((Some(stored), store)) => (stored, store),
            Err(error @ LookupError::Store(redb::Error::DatabaseAlreadyOpen)) => return Err(error),
            Ok((None, _)) | Err(_) => {
                remove(layout).map_err(AuditError::from)?;
                let store = create(layout)?;
                (Stored::begin(&store)?, store)
            }
        };
        Ok(Self {
            store: Arc::new(store),
            followed: Followed::from_stored(stored),
        })
    }

    /// Takes the next part of the log; whether `goal` is reached.
    fn step(
        &mut self,
        layout: &Layout,
        index: &Index,
        goal: &Durable,
    ) -> Result<bool, LookupError> {
        let now = index.durable().ok_or(LookupError::Untrue)?;
        let _steady = index.steady();
        self.followed.step(&self.store, layout, &now)?;
        Ok(self.followed.has_reached(goal))
    }

    fn reader(&self, log: &LogId) -> Result<Reader, LookupError> {
        Ok(Reader {
            store: Arc::clone(&self.store),
            read: self.store.begin_read()?,
            number: self.followed.number(log),
        })
    }

    fn sync(&self) -> Result<(), LookupError> {
        Ok(self.store.begin_write()?.commit()?)
    }
}

fn create(layout: &Layout) -> Result<Database, LookupError> {
    let path = layout.index();
    if let Some(dir) = path.parent() {
        layout::private_dir(dir).map_err(AuditError::from)?;
    }
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(AuditError::from)?;
    let backend = FileBackend::new(file)?;
    let created = Builder::new()
        .set_cache_size(CACHE_BYTES)
        // A file that was changed outside is reported here and not met by surprise later.
        .set_check_integrity_on_open(true)
        .create_with_backend(backend);
    created.map_err(|error| match error {
        DatabaseError::Storage(redb::StorageError::Io(error)) => AuditError::Io(error).into(),
        other => other.into(),
    })
}

fn remove(layout: &Layout) -> std::io::Result<()> {
    match fs::remove_file(layout.index()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The logs by their numbers, as the index has them.
pub(super) type Numbers = HashMap<LogId, u32>;
