//! The seam to the disk: so few calls that each can be made to fail in a test.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::layout::{self, Layout};
use crate::segment::Header;

/// Makes and opens segments.
pub(super) trait Disk: std::fmt::Debug + Send {
    /// Creates the segment of `header`, header and name durable when it returns.
    fn create(&mut self, header: &Header) -> io::Result<Box<dyn SegmentFile>>;

    /// Opens a segment that is there.
    fn open(&mut self, number: u64) -> io::Result<Box<dyn SegmentFile>>;
}

/// One segment, open for writing.
pub(super) trait SegmentFile: std::fmt::Debug + Send {
    /// How long the file is.
    fn length(&self) -> io::Result<u64>;

    /// Fills the file with zeros from its end up to `length`, durably, so that later writes into
    /// them change no metadata.
    fn fill(&mut self, length: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once what was written is on stable storage (`fdatasync`).
    fn sync(&mut self) -> io::Result<()>;
}

/// The real disk.
#[derive(Debug)]
pub(super) struct FileDisk(pub(super) Layout);

impl Disk for FileDisk {
    fn create(&mut self, header: &Header) -> io::Result<Box<dyn SegmentFile>> {
        let path = self.0.segment(header.number);
        let temporary = layout::temporary(&path);
        let file = layout::private()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&temporary)?;
        file.write_all_at(&header.encode(), 0)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        layout::sync_parent(&path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&mut self, number: u64) -> io::Result<Box<dyn SegmentFile>> {
        let file = File::options().write(true).open(self.0.segment(number))?;
        Ok(Box::new(RealFile(file)))
    }
}

#[derive(Debug)]
struct RealFile(File);

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

impl SegmentFile for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn fill(&mut self, length: u64) -> io::Result<()> {
        let mut at = self.length()?;
        while at < length {
            let part = (length - at).min(ZEROS.len() as u64);
            let zeros = ZEROS.get(..usize::try_from(part).unwrap_or(0));
            self.0.write_all_at(zeros.unwrap_or_default(), at)?;
            at += part;
        }
        self.0.sync_all()
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
