//! Logs that were given up by an operator's decision, and the statement that a successor makes of each.
//!
//! A statement lists every file of the sealed log with its digest, and names the statement before it. The
//! headers of the successor's segments and the first entry of its system log name the statement's digest,
//! so that nobody takes a sealed log away unseen.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

use eonpro_core::event::Digest;
use ring::digest::{Context, SHA256};

use crate::checkpoint::{Checkpoint, VerifyingKey};
use crate::fault::{Fault, Place, VerifyError};
use crate::layout::{self, Layout, SPOOL};
use crate::log_id::LogId;
use crate::merkle::sha256;
use crate::trail::Trail;
use crate::walk::{directory_head, signed_points};

/// The directory that holds sealed logs.
pub(crate) const SEALED: &str = "sealed";
/// The statement while the log is being sealed.
pub(crate) const SEALING: &str = "sealing";
const STATEMENT: &str = "statement";
const FIRST_LINE: &str = "eonpro/audit/sealed/v1";
/// No statement is longer: half a million files.
const MAX_BYTES: u64 = 64 << 20;

/// A log that was given up, and that this one follows.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedLog {
    /// The name of its directory below `sealed`, from 1.
    pub number: u64,
    /// The digest of its statement.
    pub digest: Digest,
    /// The last signed head of its directory log, if one could be read when it was sealed.
    pub head: Option<Checkpoint>,
}

/// What is said of a sealed log.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) number: u64,
    /// The statement of the log before it.
    pub(crate) before: Option<Digest>,
    pub(crate) head: Option<Checkpoint>,
    /// What was wrong with it, in one word of AUD-006.
    pub(crate) kind: String,
}

impl Statement {
    /// Looks at a log that does not verify because of `error`.
    pub(crate) fn of(
        layout: &Layout,
        keys: &[VerifyingKey],
        error: &VerifyError,
        kind: &str,
    ) -> Result<Self, VerifyError> {
        let number = numbers(layout)?.last().map_or(1, |last| last + 1);
        let before = match number {
            1 => None,
            _ => read(&layout.sealed(number - 1).join(STATEMENT))?.map(|text| digest_of(&text)),
        };
        // Where the changes of keys can still be followed they are.
        let trail = signed_points(layout, keys, None).map(|(_, _, trail)| trail);
        let trail = trail.unwrap_or_else(|_| Trail::new(keys));
        let head = directory_head(layout, &trail).ok();
        let mut text = format!("{FIRST_LINE}\nnumber {number}\n");
        let before_line = before.unwrap_or(Digest::from_bytes([0; 32]));
        let _infallible = writeln!(text, "before {before_line}");
        let _infallible = match &head {
            Some(head) => writeln!(text, "head {} {}", head.size, head.root),
            None => writeln!(text, "head none"),
        };
        let _infallible = write!(text, "kind {kind}\nfault {error}\n\n");
        let mut files = Vec::new();
        for name in moving(layout)? {
            list(layout.root(), Path::new(&name), &mut files)?;
        }
        if crate::spool::read(layout).is_err() {
            list(layout.root(), Path::new(SPOOL), &mut files)?;
        }
        files.sort();
        text.extend(files);
        Ok(Self {
            text,
            number,
            before,
            head,
            kind: kind.to_owned(),
        })
    }

    /// The statement of the log that is being sealed, if one is.
    pub(crate) fn pending(layout: &Layout) -> Result<Option<Self>, VerifyError> {
        let path = layout.sealing();
        let fault = || VerifyError::tampered(Place::file(SEALING, 0), Fault::Sealed);
        match read(&path)? {
            None => Ok(None),
            Some(text) => Self::parse(text).ok_or_else(fault).map(Some),
        }
    }

    fn parse(text: String) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        let number: u64 = lines.next()?.strip_prefix("number ")?.parse().ok()?;
        let before = Digest::parse_hex(lines.next()?.strip_prefix("before ")?)?;
        let head = match lines.next()?.strip_prefix("head ")? {
            "none" => None,
            head => {
                let (size, root) = head.split_once(' ')?;
                Some(Checkpoint {
                    log: LogId::Directory,
                    size: size.parse().ok()?,
                    root: Digest::parse_hex(root)?,
                })
            }
        };
        let kind = lines.next()?.strip_prefix("kind ")?.to_owned();
        Some(Self {
            number: (number > 0).then_some(number)?,
            before: (before != Digest::from_bytes([0; 32])).then_some(before),
            head,
            kind,
            text,
        })
    }

    pub(crate) fn digest(&self) -> Digest {
        digest_of(&self.text)
    }

    /// Whether the files of the sealed log have been moved, all of them.
    pub(crate) fn is_moved(&self, layout: &Layout) -> bool {
        layout.sealed(self.number).join(STATEMENT).exists()
    }

    /// Says that all files have been moved.
    pub(crate) fn note_moved(&self, layout: &Layout) -> io::Result<()> {
        let path = layout.sealed(self.number).join(STATEMENT);
        layout.replace(&path, self.text.as_bytes())
    }

    /// Whether the files are those that were sealed.
    fn holds(&self, layout: &Layout) -> Result<bool, VerifyError> {
        let dir = layout.sealed(self.number);
        let mut files = Vec::new();
        for name in names(&dir)?.iter().filter(|name| *name != STATEMENT) {
            list(&dir, Path::new(name), &mut files)?;
        }
        files.sort();
        let listed = self.text.split_once("\n\n").map(|(_, files)| files);
        Ok(listed == Some(&files.concat()))
    }
}

/// The sealed logs that are there, oldest first, after checking that they are what the newest, which
/// `follows` names, and each after it say. Where they were moved elsewhere as a whole there are none.
pub(crate) fn check(
    layout: &Layout,
    follows: Option<Digest>,
) -> Result<Vec<SealedLog>, VerifyError> {
    let mut expected = follows;
    let mut logs = Vec::new();
    for number in numbers(layout)?.into_iter().rev() {
        let place = Place::file(&format!("{SEALED}/{number}"), 0);
        let fault = || VerifyError::tampered(place, Fault::Sealed);
        let text = read(&layout.sealed(number).join(STATEMENT))?;
        let statement = text.and_then(Statement::parse);
        let statement = statement
            .filter(|statement| statement.number == number && Some(statement.digest()) == expected);
        let good = match &statement {
            Some(statement) => statement.holds(layout)?,
            None => false,
        };
        let statement = statement.filter(|_| good).ok_or_else(fault)?;
        expected = statement.before;
        logs.push(SealedLog {
            number,
            digest: statement.digest(),
            head: statement.head,
        });
    }
    logs.reverse();
    Ok(logs)
}

/// The numbers of the sealed logs, in order.
fn numbers(layout: &Layout) -> Result<Vec<u64>, VerifyError> {
    let names = match names(&layout.sealed_logs()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let stray = || VerifyError::tampered(Place::file(SEALED, 0), Fault::Stray);
    let numbers = names.iter().map(|name| name.parse().map_err(|_| stray()));
    let mut numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// What is moved when a log is sealed: all but what stays with the directory.
pub(crate) fn moving(layout: &Layout) -> io::Result<Vec<String>> {
    let stays = |name: &String| {
        let kept = ["LOCK", SEALED, SEALING, SPOOL];
        kept.contains(&name.strip_suffix(".tmp").unwrap_or(name))
    };
    let mut names = names(layout.root())?;
    names.retain(|name| !stays(name));
    Ok(names)
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(dir)?.map(|entry| {
        let name = entry?.file_name().into_string();
        name.map_err(|_| io::Error::other("a file name is not UTF-8"))
    });
    names.collect()
}

/// A line for each file at or below `inside`, a path in `dir`.
fn list(dir: &Path, inside: &Path, lines: &mut Vec<String>) -> io::Result<()> {
    let path = dir.join(inside);
    if path.is_dir() {
        for name in names(&path)? {
            list(dir, &inside.join(name), lines)?;
        }
        return Ok(());
    }
    let (digest, length) = digest_file(&path)?;
    let name = inside.to_string_lossy();
    lines.push(format!("{} {digest} {length}\n", name.escape_default()));
    Ok(())
}

fn digest_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut part = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        let read = file.read(&mut part)?;
        if read == 0 {
            break;
        }
        context.update(part.get(..read).unwrap_or_default());
        length += read as u64;
    }
    let mut digest = [0; 32];
    for (to, from) in digest.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    Ok((Digest::from_bytes(digest), length))
}

fn digest_of(text: &str) -> Digest {
    sha256(&[text.as_bytes()])
}

fn read(path: &Path) -> io::Result<Option<String>> {
    let bytes = layout::read_up_to(MAX_BYTES, path)?;
    // Another text has another digest, so what is no text is found.
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}
