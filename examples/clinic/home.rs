//! Where the data lives: the user's directory, or one that vanishes at the end.

use std::fs;
use std::path::{Path, PathBuf};

use eonpro::core::task;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::site::Failure;

/// How many paths one thread removes at a time.
const BATCH: usize = 32;
/// How many threads remove.
const THREADS: usize = 16;

/// See the [module](self).
#[derive(Debug)]
pub enum Home {
    /// The user asked for it, and keeps it.
    Kept(PathBuf),
    /// Nobody asked, so nothing stays.
    Temporary(tempfile::TempDir),
}

impl Home {
    /// The directory that was asked for, which must be empty or absent, or a temporary one.
    pub fn make(asked: Option<&Path>) -> Result<Self, Failure> {
        let Some(dir) = asked else {
            return Ok(Self::Temporary(tempfile::tempdir()?));
        };
        let shown = dir.display();
        fs::create_dir_all(dir).map_err(|error| format!("cannot make {shown}: {error}"))?;
        let mut listing =
            fs::read_dir(dir).map_err(|error| format!("cannot read {shown}: {error}"))?;
        if listing.next().is_some() {
            return Err(format!("{shown} is not empty").into());
        }
        Ok(Self::Kept(dir.to_owned()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Self::Kept(dir) => dir,
            Self::Temporary(dir) => dir.path(),
        }
    }

    /// Removes what does not stay. Some file systems take milliseconds to remove one durable file,
    /// so many are removed at a time.
    pub async fn leave(self) -> Result<(), Failure> {
        let Self::Temporary(dir) = self else {
            return Ok(());
        };
        let path = dir.path().to_owned();
        let (files, levels) = task::blocking(move || tree(&path)).await??;
        remove(files, fs::remove_file::<PathBuf>).await?;
        for level in levels.into_iter().rev() {
            remove(level, fs::remove_dir::<PathBuf>).await?;
        }
        Ok(dir.close()?)
    }
}

/// All files below `dir`, and all directories by their depth.
fn tree(dir: &Path) -> std::io::Result<(Vec<PathBuf>, Vec<Vec<PathBuf>>)> {
    let (mut files, mut levels) = (Vec::new(), Vec::new());
    let mut open = vec![dir.to_owned()];
    while !open.is_empty() {
        let mut below = Vec::new();
        for parent in open {
            for entry in fs::read_dir(parent)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    below.push(entry.path());
                } else {
                    files.push(entry.path());
                }
            }
        }
        levels.push(below.clone());
        open = below;
    }
    Ok((files, levels))
}

async fn remove(
    paths: Vec<PathBuf>,
    one: fn(PathBuf) -> std::io::Result<()>,
) -> Result<(), Failure> {
    let batches: Vec<Vec<PathBuf>> = paths.chunks(BATCH).map(<[_]>::to_vec).collect();
    let removals = stream::iter(batches).map(|batch| async move {
        let removed = task::blocking(move || batch.into_iter().try_for_each(one));
        Ok::<_, Failure>(removed.await??)
    });
    removals.buffer_unordered(THREADS).try_collect().await
}
