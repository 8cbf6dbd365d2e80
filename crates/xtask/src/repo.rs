//! The repository as the rules see it: its root and the files that belong to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;

/// The repository's root and its files, by paths that begin at the root, sorted.
#[derive(Debug)]
pub(crate) struct Repo {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<String>,
}

/// One file of text.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Repo {
    /// Lists what git tracks or would track; without git, what lies under the root.
    pub(crate) fn open() -> Result<Self, String> {
        let root = root()?;
        let mut files = match tracked(&root) {
            Ok(files) => files,
            Err(_) => walked(&root)?,
        };
        files.retain(|file| root.join(file).is_file());
        files.sort();
        files.dedup();
        Ok(Self { root, files })
    }

    /// The text of one file.
    pub(crate) fn read(&self, path: &str) -> Result<String, String> {
        let bytes = fs::read(self.root.join(path)).map_err(|error| format!("{path}: {error}"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The texts of the files whose path the filter admits.
    pub(crate) fn sources(&self, admit: impl Fn(&str) -> bool) -> Result<Vec<Source>, String> {
        let admitted = self.files.iter().filter(|path| admit(path));
        admitted
            .map(|path| {
                Ok(Source {
                    text: self.read(path)?,
                    path: path.clone(),
                })
            })
            .collect()
    }

    /// All Rust files.
    pub(crate) fn rust(&self) -> Result<Vec<Source>, String> {
        self.sources(|path| path.ends_with(".rs"))
    }
}

/// The repository's root: two folders above this crate.
pub(crate) fn root() -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .map(Path::to_owned)
        .ok_or_else(|| "the repository's root was not found".to_owned())
}

fn tracked(root: &Path) -> Result<Vec<String>, String> {
    let arguments = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let listing = process::read(Command::new("git").args(arguments).current_dir(root))?;
    let files: Vec<String> = listing
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect();
    if files.is_empty() {
        return Err("git lists no file".to_owned());
    }
    Ok(files)
}

fn walked(root: &Path) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let named = |error| format!("{}: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(named)? {
            let entry = entry.map_err(named)?;
            let kind = entry.file_type().map_err(named)?;
            let name = entry.file_name();
            if kind.is_dir() && name != "target" && name != ".git" {
                folders.push(entry.path());
            }
            if !kind.is_file() {
                continue;
            }
            if let Ok(path) = entry.path().strip_prefix(root) {
                files.push(path.to_string_lossy().into_owned());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_and_the_walk_agree_that_this_file_belongs_to_the_repository() {
        let root = root().unwrap();
        let this = "crates/xtask/src/repo.rs".to_owned();
        assert!(walked(&root).unwrap().contains(&this));
        assert!(Repo::open().unwrap().files.contains(&this));
    }

    #[test]
    fn the_walk_leaves_build_output_out() {
        let root = root().unwrap();
        let files = walked(&root).unwrap();
        assert!(!files.iter().any(|file| file.starts_with("target/")));
    }
}
