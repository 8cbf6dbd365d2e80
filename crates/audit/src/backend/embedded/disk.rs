//! Segments as the writer makes them.

use std::io;

use crate::layout::Layout;
use crate::segment::Header;
use crate::vfs::{self, VfsFile};

/// Creates the segment of `header`, header and name durable when it returns.
pub(super) fn create(layout: &Layout, header: &Header) -> io::Result<Box<dyn VfsFile>> {
    let path = layout.segment(header.number);
    vfs::place(layout.vfs(), &path, &header.encode())
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Fills a file with zeros from its end up to `length`, not yet durably.
pub(super) fn fill(file: &mut dyn VfsFile, length: u64) -> io::Result<()> {
    let mut at = file.length()?;
    while at < length {
        let part = (length - at).min(ZEROS.len() as u64);
        let zeros = ZEROS.get(..usize::try_from(part).unwrap_or(0));
        file.write_all_at(zeros.unwrap_or_default(), at)?;
        at += part;
    }
    Ok(())
}
