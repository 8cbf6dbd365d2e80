//! Entries that the log could not take: one file of frames, synced one by one, folded in at the next
//! opening, in order.
//!
//! Only types of the catalogue that let the operation go on come here. An entry may be in the log as
//! well, if the log failed while it was in flight: its event id folds the repeat.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};

use crate::fault::{Fault, Place, VerifyError};
use crate::layout::{Layout, SPOOL};
use crate::log_id::LogId;
use crate::segment::{Frame, Kind, push_frame};
use crate::vfs::{self, VfsFile};
use crate::wire;

/// No spool is longer.
const MAX_BYTES: u64 = 256 << 20;

/// What a spool file holds.
#[derive(Debug, Default)]
pub(crate) struct Spooled {
    /// The log of each entry, and its leaf without the head.
    pub(crate) entries: Vec<(LogId, Vec<u8>)>,
    /// How many bytes are intact.
    pub(crate) intact: usize,
    /// Whether something unfinished follows them.
    pub(crate) torn: bool,
}

/// Reads the spool; an absent one is empty. Damage that no crash leaves is a fault.
pub(crate) fn read(layout: &Layout) -> Result<Spooled, VerifyError> {
    let mut bytes = Vec::new();
    match File::open(layout.spool()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Spooled::default()),
        other => other?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?,
    };
    let fault = |at| VerifyError::tampered(Place::file(SPOOL, at), Fault::Spool);
    if bytes.len() as u64 > MAX_BYTES {
        return Err(fault(bytes.len()));
    }
    let mut spooled = Spooled::default();
    while let Some(frame) = Frame::parse(bytes.get(spooled.intact..).unwrap_or_default()) {
        let entry = entry(&frame, spooled.entries.len()).ok_or_else(|| fault(spooled.intact))?;
        spooled.entries.push(entry);
        spooled.intact += frame.length;
    }
    let rest = bytes.get(spooled.intact..).unwrap_or_default();
    let follows = |at: usize| Frame::parse(rest.get(at..).unwrap_or_default()).is_some();
    if (0..rest.len()).step_by(8).any(follows) {
        return Err(fault(spooled.intact));
    }
    spooled.torn = !rest.is_empty();
    Ok(spooled)
}

/// The entry in a frame: well-formed, and of the log that it names.
fn entry(frame: &Frame<'_>, index: usize) -> Option<(LogId, Vec<u8>)> {
    if frame.kind != Kind::Leaf || frame.log != 0 || frame.index != index as u64 {
        return None;
    }
    let line = frame.payload.iter().position(|byte| *byte == b'\n')?;
    let (origin, tail) = frame.payload.split_at_checked(line)?;
    let log = LogId::parse(std::str::from_utf8(origin).ok()?)?;
    let tail = tail.strip_prefix(b"\n")?.to_vec();
    let (_, tenant) = wire::tail_brief(&tail).ok()?;
    match log {
        LogId::Directory => None,
        LogId::Tenant(id) if tenant != Some(id) => None,
        LogId::Tenant(_) | LogId::System => Some((log, tail)),
    }
}

/// All bytes of a damaged spool, and a spool of what is intact in it.
pub(crate) fn salvage(layout: &Layout) -> Result<(Vec<u8>, Vec<u8>), VerifyError> {
    let bytes = fs::read(layout.spool())?;
    let (mut intact, mut entries, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let found = Frame::parse(bytes.get(at..).unwrap_or_default());
        let known = found.and_then(|found| {
            let index = usize::try_from(found.index).ok()?;
            Some((entry(&found, index)?, found.length))
        });
        if let Some(((log, tail), length)) = known {
            intact.extend(frame(log, entries, &tail));
            entries += 1;
            at += length;
        } else {
            at += 8;
        }
    }
    Ok((bytes, intact))
}

/// Keeps what follows the `intact` bytes in `torn/` and cuts it off.
pub(crate) fn set_tail_aside(layout: &Layout, intact: usize) -> io::Result<()> {
    let bytes = fs::read(layout.spool())?;
    let tail = bytes.get(intact..).unwrap_or_default();
    layout.private_dir(&layout.torn())?;
    layout.replace(&layout.torn().join(format!("spool-{intact}.bin")), tail)?;
    let mut file = layout.vfs().open(&layout.spool())?;
    file.set_len(intact as u64)?;
    file.sync_all()
}

/// Why an entry was not spooled.
#[derive(Debug)]
pub(crate) enum NotSpooled {
    /// Nothing of it is in the file, durably.
    Certain(io::Error),
    /// The disk failed so that it may come up later.
    InDoubt,
}

/// The spool file, open for writing.
#[derive(Debug)]
pub(crate) struct Spool {
    file: Box<dyn VfsFile>,
    entries: u64,
    length: u64,
    limit: usize,
}

impl Spool {
    /// Opens the spool behind what is in it. What is in it is written afresh: after a failed sync a
    /// read shows bytes that never reached the disk.
    pub(crate) fn open(layout: &Layout, limit: usize) -> Result<Self, VerifyError> {
        let spooled = read(layout)?;
        let mut bytes = match fs::read(layout.spool()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        bytes.truncate(spooled.intact);
        Ok(Self {
            file: vfs::place(layout.vfs(), &layout.spool(), &bytes)?,
            entries: spooled.entries.len() as u64,
            length: spooled.intact as u64,
            limit,
        })
    }

    /// Adds one entry, durable when it returns.
    pub(crate) fn add(&mut self, log: LogId, tail: &[u8]) -> Result<(), NotSpooled> {
        let frame = frame(log, self.entries, tail);
        let length = self.length + frame.len() as u64;
        if self.entries >= self.limit as u64 || length > MAX_BYTES {
            return Err(NotSpooled::Certain(io::Error::other("the spool is full")));
        }
        if let Err(error) = self.write(&frame) {
            return Err(match self.cut_back() {
                Ok(()) => NotSpooled::Certain(error),
                Err(_) => NotSpooled::InDoubt,
            });
        }
        self.entries += 1;
        self.length = length;
        Ok(())
    }

    fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        self.file.write_all_at(frame, self.length)?;
        self.file.sync_data()
    }

    fn cut_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.sync_all()
    }
}

fn frame(log: LogId, index: u64, tail: &[u8]) -> Vec<u8> {
    let mut payload = log.to_string().into_bytes();
    payload.push(b'\n');
    payload.extend_from_slice(tail);
    let mut frame = Vec::new();
    push_frame(&mut frame, Kind::Leaf, 0, index, &payload);
    frame
}

/// Removes the spool after its entries are in the log.
pub(crate) fn remove(layout: &Layout) -> io::Result<()> {
    match layout.vfs().remove(&layout.spool()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => vfs::sync_parent(layout.vfs(), &layout.spool()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tail of an entry that says no more than an id and perhaps a tenant.
    fn tail(number: u8, tenant: &str) -> Vec<u8> {
        let id = format!("0190a1b2-0000-7000-8000-0000000000{number:02x}");
        format!("\"id\":\"{id}\"{tenant}}}").into_bytes()
    }

    fn fresh() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        (dir, layout)
    }

    #[test]
    fn entries_come_back_in_order_and_a_torn_one_does_not() {
        let (_dir, layout) = fresh();
        let mut spool = Spool::open(&layout, 3).unwrap();
        spool.add(LogId::System, &tail(1, "")).unwrap();
        spool.add(LogId::System, &tail(2, "")).unwrap();
        drop(spool);
        let whole = fs::read(layout.spool()).unwrap();
        fs::write(layout.spool(), &whole[..whole.len() - 1]).unwrap();
        let spooled = read(&layout).unwrap();
        assert!(spooled.torn);
        assert_eq!(spooled.entries, [(LogId::System, tail(1, ""))]);

        set_tail_aside(&layout, spooled.intact).unwrap();
        assert!(!read(&layout).unwrap().torn);
        assert_eq!(fs::read_dir(layout.torn()).unwrap().count(), 1);
        let mut spool = Spool::open(&layout, 3).unwrap();
        spool.add(LogId::System, &tail(3, "")).unwrap();
        assert_eq!(read(&layout).unwrap().entries.len(), 2);
    }

    #[test]
    fn damage_before_intact_entries_is_a_fault_and_nothing_is_dropped() {
        let (_dir, layout) = fresh();
        let mut spool = Spool::open(&layout, 9).unwrap();
        for number in 1..4 {
            spool.add(LogId::System, &tail(number, "")).unwrap();
        }
        let mut bytes = fs::read(layout.spool()).unwrap();
        bytes[40] ^= 1;
        fs::write(layout.spool(), bytes).unwrap();
        assert!(matches!(read(&layout), Err(VerifyError::Tampered { .. })));
        assert!(Spool::open(&layout, 9).is_err());
    }

    #[test]
    fn an_entry_under_another_log_is_a_fault() {
        let own = "0190a1b2-0000-7000-8000-00000000000a";
        let log = LogId::parse(&format!("eonpro/audit/{own}")).unwrap();
        let tenant = format!(",\"tenant\":\"{own}\"");
        for (id, text, good) in [
            (log, tenant.as_str(), true),
            (LogId::System, tenant.as_str(), true),
            (log, "", false),
            (LogId::Directory, "", false),
        ] {
            let (_dir, layout) = fresh();
            let mut spool = Spool::open(&layout, 1).unwrap();
            spool.add(id, &tail(1, text)).unwrap();
            assert_eq!(read(&layout).is_ok(), good, "{id} {text}");
        }
    }

    #[test]
    fn a_full_spool_refuses() {
        let (_dir, layout) = fresh();
        let mut spool = Spool::open(&layout, 1).unwrap();
        spool.add(LogId::System, &tail(1, "")).unwrap();
        assert!(spool.add(LogId::System, &tail(2, "")).is_err());
        assert_eq!(read(&layout).unwrap().entries.len(), 1);
    }
}
