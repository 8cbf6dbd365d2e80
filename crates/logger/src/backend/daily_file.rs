//! One file a day: `<dir>/<prefix>-YYYY-MM-DD.jsonl`, by the UTC date of each line.
//!
//! Files are appended to, readable for their owner alone, and synced when the date changes. A torn
//! last line, left by a crash, is closed before the next one is written, so it spoils no other.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use eonpro_core::component::Durability;
use eonpro_core::time::Timestamp;

use super::sink::{LogLine, LogSink};
use crate::error::LogError;

type Date = (i16, u8, u8);

/// Files named by day. Lines reach the operating system with each batch, and stable storage with
/// each flush, each new day and the close.
pub struct DailyFile {
    dir: PathBuf,
    prefix: String,
    max_files: Option<usize>,
    open: Option<(Date, File)>,
    // Why old files are still there. It stops no line; the next sync tells it.
    unpruned: Option<io::Error>,
}

impl DailyFile {
    /// Files in `dir`, which is made if it is not there. `prefix` is 1 to 64 characters of
    /// `a-z 0-9 _ -`. The first file is opened with the first line.
    ///
    /// # Errors
    /// [`LogError::Prefix`], and [`LogError::Directory`] if the directory cannot be made or read.
    pub fn open(dir: impl Into<PathBuf>, prefix: &str) -> Result<Self, LogError> {
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(fits) {
            return Err(LogError::Prefix);
        }
        let dir = dir.into();
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&dir)
            .and_then(|()| fs::read_dir(&dir))
            .map_err(LogError::Directory)?;
        Ok(Self {
            dir,
            prefix: prefix.to_owned(),
            max_files: None,
            open: None,
            unpruned: None,
        })
    }

    /// Keeps the newest `max_files` files, at least one, and removes older ones when a new day
    /// begins. Without it, all are kept. Lines are written even if an old file cannot be removed;
    /// the next [`sync`](LogSink::sync) then fails once, and the next day tries again.
    #[must_use]
    pub fn keep(mut self, max_files: usize) -> Self {
        self.max_files = Some(max_files.max(1));
        self
    }

    fn append(&mut self, date: Date, text: &str) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != date) {
            self.turn(date)?;
        }
        let Some((_, file)) = &mut self.open else {
            return Err(io::Error::other("no log file is open"));
        };
        let written = file.write_all(text.as_bytes());
        if written.is_err() {
            // Opened anew, the file is looked at for a torn line.
            self.open = None;
        }
        written
    }

    /// Ends the file of one day and opens that of another.
    fn turn(&mut self, date: Date) -> io::Result<()> {
        if let Some((_, file)) = self.open.take() {
            file.sync_all()?;
        }
        let name = self.file_name(date);
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(self.dir.join(&name))?;
        close_torn_line(&mut file)?;
        // A new name is durable once its directory is.
        File::open(&self.dir)?.sync_all()?;
        self.open = Some((date, file));
        self.unpruned = self.prune(&name).err();
        Ok(())
    }

    fn prune(&self, current: &str) -> io::Result<()> {
        let Some(max_files) = self.max_files else {
            return Ok(());
        };
        let mut names: Vec<String> = fs::read_dir(&self.dir)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| self.owns(name) && name != current)
            .collect();
        // Equal lengths: the order of names is the order of dates.
        names.sort();
        let surplus = (names.len() + 1).saturating_sub(max_files);
        // One that cannot be removed keeps none of the others.
        let mut outcome = Ok(());
        for name in names.iter().take(surplus) {
            outcome = outcome.and(fs::remove_file(self.dir.join(name)));
        }
        outcome
    }

    fn file_name(&self, (year, month, day): Date) -> String {
        format!("{}-{year:04}-{month:02}-{day:02}.jsonl", self.prefix)
    }

    fn owns(&self, name: &str) -> bool {
        let date = name
            .strip_prefix(self.prefix.as_str())
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.strip_suffix(".jsonl"));
        date.is_some_and(|date| {
            date.len() == 10
                && date.bytes().enumerate().all(|(at, byte)| match at {
                    4 | 7 => byte == b'-',
                    _ => byte.is_ascii_digit(),
                })
        })
    }
}

fn close_torn_line(file: &mut File) -> io::Result<()> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        Ok(())
    } else {
        file.write_all(b"\n")
    }
}

impl LogSink for DailyFile {
    fn name(&self) -> &'static str {
        "daily-file"
    }

    fn durability(&self) -> Durability {
        Durability::Durable
    }

    fn write(&mut self, lines: &[LogLine]) -> io::Result<()> {
        let date = |line: &LogLine| Timestamp::utc_date(line.at());
        for day in lines.chunk_by(|a, b| date(a) == date(b)) {
            let text: String = day.iter().map(LogLine::json).collect();
            if let Some(first) = day.first() {
                self.append(date(first), &text)?;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if let Some((_, file)) = &self.open {
            file.sync_all()?;
        }
        self.unpruned.take().map_or(Ok(()), Err)
    }
}

/// Names no path.
impl fmt::Debug for DailyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DailyFile")
            .field("prefix", &self.prefix)
            .field("max_files", &self.max_files)
            .finish_non_exhaustive()
    }
}
