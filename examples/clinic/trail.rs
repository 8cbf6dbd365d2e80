//! Step 8: the audit trail, read while it runs, verified from disk, and tampered with in a copy.

use std::fs;
use std::path::{Path, PathBuf};

use eonpro::audit::{EntryView, LogId, Query, VerifyingKey, verify};
use eonpro::core::id::TenantId;
use eonpro::core::task;

use crate::site::{Failure, Site};

/// What the log puts into itself when somebody reads it.
const READ: &str = "AUD-003";

/// The entries of a clinic's log.
pub async fn entries(site: &Site, tenant: TenantId) -> Result<Vec<EntryView>, Failure> {
    let cx = site.foundation.chore("trail-review");
    let mut all = Vec::new();
    let mut query = Some(Query::new(LogId::Tenant(tenant)));
    // Its pages go no further than the log did at the first, so they do not meet their own records.
    while let Some(mut asked) = query {
        asked.limit = 1_000;
        let page = site.foundation.audit().query(&cx, &asked).await?;
        query = asked.next_page(&page);
        all.extend(page.hits.into_iter().map(|hit| hit.view));
    }
    Ok(all)
}

/// How many entries a clinic's log has, but for the records of its being read.
pub async fn size(site: &Site, tenant: TenantId) -> Result<u64, Failure> {
    let mut size = 0;
    for view in entries(site, tenant).await? {
        size += u64::from(view.entry()?.code != READ);
    }
    Ok(size)
}

/// How many entries of one event type a clinic's log has.
pub async fn count(site: &Site, tenant: TenantId, code: &str) -> Result<u64, Failure> {
    let mut count = 0;
    for view in entries(site, tenant).await? {
        count += u64::from(view.entry()?.code == code);
    }
    Ok(count)
}

/// What verification of the directory on disk found.
#[derive(Debug)]
pub struct Verified {
    /// The entries of all logs.
    pub entries: u64,
    /// The root of the directory log.
    pub root: String,
    /// Whether every entry is covered by a signed checkpoint.
    pub signed: bool,
}

/// Verifies the log on disk, without the service that wrote it.
pub async fn verify_on_disk(dir: &Path, key: VerifyingKey) -> Result<Verified, Failure> {
    let dir = dir.join("audit");
    let report = task::blocking(move || verify(&dir, &[key])).await??;
    Ok(Verified {
        entries: report.entries,
        root: report.directory.root.to_string(),
        signed: report.unsigned == 0 && report.spooled == 0 && report.directory.size > 0,
    })
}

/// Flips one bit inside `victim` in a copy of the log, and returns where verification says it is.
pub async fn tamper(dir: &Path, key: VerifyingKey, victim: EntryView) -> Result<String, Failure> {
    let dir = dir.join("audit");
    let named = task::blocking(move || -> Result<String, Failure> {
        let copy = tempfile::tempdir()?;
        copy_directory(&dir, copy.path())?;
        flip(copy.path(), &victim.bytes)?;
        match verify(copy.path(), &[key]) {
            Ok(_) => Err("a flipped byte was not noticed".into()),
            Err(error) => Ok(error
                .place()
                .map_or_else(|| error.to_string(), ToString::to_string)),
        }
    });
    named.await?
}

fn copy_directory(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().ok_or("a file without a name")?);
        if path.is_dir() {
            copy_directory(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Changes one digit of the entry's time in whatever segment holds the entry.
fn flip(audit: &Path, entry: &[u8]) -> Result<(), Failure> {
    const FIELD: &[u8] = b"\"occurred\":\"";
    let inside = position(entry, FIELD).ok_or("an entry without its time")? + FIELD.len();
    let mut segments: Vec<PathBuf> = Vec::new();
    for file in fs::read_dir(audit.join("wal"))? {
        segments.push(file?.path());
    }
    segments.sort();
    for segment in segments {
        let mut bytes = fs::read(&segment)?;
        let Some(at) = position(&bytes, entry) else {
            continue;
        };
        let byte = bytes
            .get_mut(at + inside)
            .ok_or("an entry beyond its segment")?;
        *byte ^= 1;
        return Ok(fs::write(&segment, bytes)?);
    }
    Err("the entry is in no segment".into())
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &[u8] = b"{\"id\":7,\"occurred\":\"2026-11-28T05:04:03Z\"}";

    #[test]
    fn one_bit_of_the_entry_is_flipped_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let wal = dir.path().join("wal");
        fs::create_dir(&wal).unwrap();
        let other = b"{\"id\":6,\"occurred\":\"2026-11-28T05:04:03Z\"}";
        let segment = [b"head".as_slice(), other, ENTRY, b"tail"].concat();
        fs::write(wal.join("0"), other).unwrap();
        fs::write(wal.join("1"), &segment).unwrap();
        flip(dir.path(), ENTRY).unwrap();
        assert_eq!(fs::read(wal.join("0")).unwrap(), other);
        let flipped = fs::read(wal.join("1")).unwrap();
        let changed: Vec<usize> = (0..segment.len())
            .filter(|at| flipped[*at] != segment[*at])
            .collect();
        let place = 4 + other.len() + position(ENTRY, b"2026").unwrap();
        assert_eq!(changed, [place]);
        assert_eq!((flipped[place] ^ segment[place]).count_ones(), 1);
    }

    #[test]
    fn an_entry_that_is_nowhere_is_not_flipped_in_silence() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("wal")).unwrap();
        fs::write(dir.path().join("wal/0"), "something else").unwrap();
        assert!(flip(dir.path(), ENTRY).is_err());
        assert!(flip(dir.path(), b"an entry without its time").is_err());
    }

    #[test]
    fn a_copy_has_everything_that_the_original_has() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("wal")).unwrap();
        fs::write(from.path().join("wal/0"), "a").unwrap();
        fs::write(from.path().join("checkpoint"), "b").unwrap();
        copy_directory(from.path(), to.path()).unwrap();
        assert_eq!(fs::read(to.path().join("wal/0")).unwrap(), b"a");
        assert_eq!(fs::read(to.path().join("checkpoint")).unwrap(), b"b");
    }
}
