//! A disk that fails where a test wants it to.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use crate::vfs::{RealVfs, Vfs, VfsFile};

/// Which calls fail: each counter counts down and fails its call at zero; below zero it rests. Only what
/// concerns segments fails, but for the lack of room.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Writing a batch.
    pub(super) write: AtomicI64,
    /// Syncing a batch.
    pub(super) sync: AtomicI64,
    /// Creating a segment, and syncing the zeros in it.
    pub(super) fill: AtomicI64,
    /// Fails after the new segment has got its name.
    pub(super) named: AtomicI64,
    /// Syncing the spool, and cutting it back.
    pub(super) spool: AtomicI64,
    /// Fails every call that concerns segments while set.
    pub(super) dead: AtomicBool,
    /// The bytes that the disk still takes behind the ends of its files, if they are few.
    pub(super) room: Mutex<Option<u64>>,
    /// Each write takes at most so many bytes at once, if not 0.
    pub(super) short: AtomicI64,
    /// Fails every call that concerns the spool while set.
    pub(super) spool_dead: AtomicBool,
    /// Held by a sync that must wait, and how many have come there.
    pub(super) gate: Mutex<()>,
    pub(super) at_gate: AtomicI64,
    /// How many syncs may still return, if they are slowed.
    tickets: Mutex<Option<u64>>,
    ticketed: Condvar,
    /// How many batches were synced.
    pub(super) synced: AtomicI64,
}

impl Plan {
    pub(super) fn resting() -> Arc<Self> {
        let plan = Self::default();
        for counter in [
            &plan.write,
            &plan.sync,
            &plan.fill,
            &plan.named,
            &plan.spool,
        ] {
            counter.store(-1, Ordering::SeqCst);
        }
        Arc::new(plan)
    }

    /// Slows syncs: each takes a ticket, of which there are none yet.
    pub(super) fn slow(&self) {
        *self.tickets.lock().unwrap() = Some(0);
    }

    pub(super) fn allow(&self, more: u64) {
        if let Some(tickets) = self.tickets.lock().unwrap().as_mut() {
            *tickets += more;
        }
        self.ticketed.notify_all();
    }

    fn wait(&self) {
        self.at_gate.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock().unwrap());
        let tickets = self.tickets.lock().unwrap();
        let mut tickets = self
            .ticketed
            .wait_while(tickets, |tickets| *tickets == Some(0))
            .unwrap();
        if let Some(tickets) = tickets.as_mut() {
            *tickets -= 1;
        }
    }

    fn check_spool(&self) -> io::Result<()> {
        match self.spool_dead.load(Ordering::SeqCst) {
            true => Err(failed()),
            false => countdown(&self.spool),
        }
    }

    fn check(&self, counter: &AtomicI64) -> io::Result<()> {
        self.alive()?;
        countdown(counter)
    }

    fn alive(&self) -> io::Result<()> {
        match self.dead.load(Ordering::SeqCst) {
            true => Err(failed()),
            false => Ok(()),
        }
    }

    /// How many of `more` bytes the disk takes.
    fn take_room(&self, more: u64) -> io::Result<u64> {
        let mut room = self.room.lock().unwrap();
        let Some(left) = room.as_mut() else {
            return Ok(more);
        };
        let taken = more.min(*left);
        *left -= taken;
        match taken {
            0 if more > 0 => Err(ErrorKind::StorageFull.into()),
            taken => Ok(taken),
        }
    }
}

fn failed() -> io::Error {
    io::Error::other("the test lets it fail")
}

fn countdown(counter: &AtomicI64) -> io::Result<()> {
    match counter.fetch_sub(1, Ordering::SeqCst) {
        0 => Err(failed()),
        _ => Ok(()),
    }
}

/// The real disk with failures.
#[derive(Debug)]
pub(super) struct FaultyVfs(pub(super) Arc<Plan>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A segment that has not got its name yet.
    New,
    Segment,
    Spool,
    Other,
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn VfsFile>,
    plan: Arc<Plan>,
    what: What,
}

fn is_segment(path: &Path) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with("wal"))
}

impl FaultyVfs {
    fn wrap(&self, file: Box<dyn VfsFile>, what: What) -> Box<dyn VfsFile> {
        let plan = Arc::clone(&self.0);
        Box::new(FaultyFile { file, plan, what })
    }
}

impl Vfs for FaultyVfs {
    fn open(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let what = match is_segment(path) {
            true => What::Segment,
            false => What::Other,
        };
        Ok(self.wrap(RealVfs.open(path)?, what))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn VfsFile>> {
        let what = if is_segment(path) {
            self.0.check(&self.0.fill)?;
            What::New
        } else if path.ends_with("spool.tmp") {
            What::Spool
        } else {
            What::Other
        };
        Ok(self.wrap(RealVfs.create(path)?, what))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealVfs.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealVfs.rename(from, to)?;
        match is_segment(to) {
            true => self.0.check(&self.0.named),
            false => Ok(()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealVfs.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealVfs.sync_dir(dir)
    }
}

impl VfsFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.what == What::Segment
            && bytes.iter().any(|byte| *byte != 0)
            && let Err(error) = self.plan.check(&self.plan.write)
        {
            // A failed write may have written a part.
            self.file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        let end = offset + bytes.len() as u64;
        let inside = self.file.length()?.saturating_sub(offset);
        let beyond = (end - offset).saturating_sub(inside);
        let fits = (end - offset - beyond) + self.plan.take_room(beyond)?;
        let mut most = usize::try_from(fits).unwrap();
        let short = self.plan.short.load(Ordering::SeqCst);
        if short > 0 {
            most = most.min(usize::try_from(short).unwrap());
        }
        self.file.write_at(&bytes[..most], offset)
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        if self.what == What::Spool && self.plan.spool_dead.load(Ordering::SeqCst) {
            return Err(failed());
        }
        self.file.set_len(length)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        match self.what {
            What::New | What::Segment => {
                self.plan.wait();
                self.plan.check(&self.plan.sync)?;
                self.plan.synced.fetch_add(1, Ordering::SeqCst);
            }
            What::Spool => self.plan.check_spool()?,
            What::Other => {}
        }
        self.file.sync_data()
    }

    fn sync_all(&mut self) -> io::Result<()> {
        match self.what {
            What::New => {
                self.plan.alive()?;
                self.what = What::Segment;
            }
            What::Segment => self.plan.check(&self.plan.fill)?,
            What::Spool => self.plan.check_spool()?,
            What::Other => {}
        }
        self.file.sync_all()
    }
}
