//! Writes the files that are made from other files, or finds the first one that is stale.
//!
//! A generator is a function from a checked source to a list of [`Generated`] files; the next one
//! joins in [`generate`]. A page that a crate renders from its own types stands in [`PAGES`].

mod catalogue;
mod page;
mod structs;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process;
use catalogue::Catalogue;

const SOURCE: &str = "crates/core/events.toml";
const MODULES: &str = "crates/core/src/event/catalogue";
const LINES: usize = 600;

/// Pages and vectors made of types that this tool cannot import: package, target with its kind, and
/// the ignored test that writes them. A test beside each compares it, so that `--check` need not.
const PAGES: &[(&str, &[&str], &str)] = &[
    (
        "eonpro-storage",
        &["--test", "it"],
        "policy_page::write_policy_page",
    ),
    (
        "eonpro-examples",
        &["--example", "clinic"],
        "record::tests::write_data_map_page",
    ),
    ("eonpro-encryption", &["--lib"], "vectors::write_vectors"),
    (
        "eonpro-audit",
        &["--test", "it"],
        "merkle_vectors::write_vectors",
    ),
];

/// One file that is made from others. `path` begins at the root of the repository.
struct Generated {
    path: String,
    content: String,
}

/// Writes all generated files, or with `check` only compares them.
///
/// # Errors
/// In words for the terminal: the source is broken, a tool is missing, or with `check` the first
/// file that is stale.
pub(crate) fn run(check: bool) -> Result<(), String> {
    let root = root()?;
    let generated = generate(&root)?;
    if let Some(stray) = stray(&root, &generated)? {
        return Err(format!("{stray} is not in the catalogue; remove it"));
    }
    for file in &generated {
        let path = root.join(&file.path);
        if fs::read_to_string(&path).is_ok_and(|old| old == file.content) {
            continue;
        }
        if check {
            return Err(format!("{} is stale; run cargo xtask codegen", file.path));
        }
        write(&path, &file.content)?;
    }
    if !check {
        write_pages(&root)?;
    }
    Ok(())
}

fn write_pages(root: &Path) -> Result<(), String> {
    for (package, target, test) in PAGES {
        let mut cargo = process::cargo(root);
        cargo.args(["test", "--quiet", "--package", package]);
        cargo.args(*target).arg("--");
        process::run(cargo.args(["--ignored", "--exact", test]))?;
    }
    Ok(())
}

fn generate(root: &Path) -> Result<Vec<Generated>, String> {
    let source = root.join(SOURCE);
    let text = fs::read_to_string(&source).map_err(|error| format!("{SOURCE}: {error}"))?;
    let catalogue = Catalogue::parse(&text).map_err(|error| format!("{SOURCE}: {error}"))?;

    let mut files = vec![Generated {
        path: "docs/audit-events.md".to_owned(),
        content: page::render(&catalogue),
    }];
    for (module, source) in structs::render(&catalogue) {
        files.push(Generated {
            path: format!("{MODULES}/{module}.rs"),
            content: rustfmt(root, &source)?,
        });
    }
    for file in &files {
        let lines = file.content.lines().count();
        if file.path.ends_with(".rs") && lines > LINES {
            return Err(format!("{} has {lines} lines of {LINES}", file.path));
        }
    }
    Ok(files)
}

/// A Rust file beside the generated ones that no group accounts for.
fn stray(root: &Path, generated: &[Generated]) -> Result<Option<String>, String> {
    let folder = root.join(MODULES);
    if !folder.exists() {
        return Ok(None);
    }
    let entries = fs::read_dir(&folder).map_err(|error| format!("{MODULES}: {error}"))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("{MODULES}: {error}"))?;
        let path = format!("{MODULES}/{}", entry.file_name().to_string_lossy());
        if !generated.iter().any(|file| file.path == path) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn rustfmt(root: &Path, source: &str) -> Result<String, String> {
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root.join("rustfmt.toml"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("rustfmt: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(source.as_bytes())
            .map_err(|error| format!("rustfmt: {error}"))?;
    }
    let output = child
        .wait_with_output()
        .map_err(|error| format!("rustfmt: {error}"))?;
    if !output.status.success() {
        return Err(format!("rustfmt refused generated code: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("rustfmt: {error}"))
}

fn write(path: &Path, content: &str) -> Result<(), String> {
    let named = |error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(named)?;
    }
    fs::write(path, content).map_err(named)
}

fn root() -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .map(Path::to_owned)
        .ok_or_else(|| "the repository's root was not found".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_files_are_current() {
        assert_eq!(run(true), Ok(()));
    }
}
