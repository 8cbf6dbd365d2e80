//! Every service reads the same, and every file opens by saying what it is.

use crate::repo::{Repo, Source};

use super::code::blank_literals;

/// The eight services, by their folders under `crates/`.
pub(crate) const SERVICES: &[&str] = &[
    "audit",
    "auth",
    "cache",
    "encryption",
    "logger",
    "metrics",
    "storage",
    "tenant",
];

/// What every service has under `src/`; the last is a folder.
const FILES: &[&str] = &[
    "lib.rs",
    "service.rs",
    "config.rs",
    "error.rs",
    "events.rs",
    "backend/",
];

/// Files of the grammar that a service has no use for: path, since when, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Items that `lib.rs` leaves to other files.
const ITEMS: &[&str] = &[
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "macro_rules",
    "static",
    "struct",
    "trait",
    "type",
    "union",
];

pub(crate) fn check(repo: &Repo) -> Result<Vec<String>, String> {
    let mut violations = missing(&repo.files);
    for service in SERVICES {
        let path = format!("crates/{service}/src/lib.rs");
        if repo.files.contains(&path) {
            violations.extend(items(&path, &repo.read(&path)?));
        }
    }
    Ok(violations)
}

/// Every Rust file begins with a line of documentation.
pub(crate) fn check_openings(repo: &Repo) -> Result<Vec<String>, String> {
    Ok(unopened(&repo.rust()?))
}

fn missing(files: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    for service in SERVICES {
        for file in FILES {
            let path = format!("crates/{service}/src/{file}");
            let there = files
                .iter()
                .any(|file| *file == path || (path.ends_with('/') && file.starts_with(&path)));
            let excepted = EXCEPTIONS.iter().any(|(exception, ..)| *exception == path);
            match (there, excepted) {
                (false, false) => missing.push(format!("{path}: missing")),
                (true, true) => missing.push(format!("{path}: there, yet listed as exception")),
                _ => {}
            }
        }
    }
    missing
}

fn items(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in blank_literals(text).lines().enumerate() {
        let mut words = line
            .split(|char: char| !char.is_alphanumeric() && char != '_')
            .filter(|word| !word.is_empty());
        if let Some(item) = words.find(|word| ITEMS.contains(word)) {
            let line = number + 1;
            found.push(format!(
                "{path}:{line}: {item} in lib.rs; docs and re-exports only"
            ));
        }
    }
    found
}

fn unopened(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| !source.path.ends_with("build.rs") && !source.path.contains("/tests/ui/"))
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| {
            format!(
                "{}: the first line does not say what it is (//!)",
                source.path
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::assert_obeyed;
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn every_service_has_the_files_of_the_grammar() {
        assert_obeyed(check);
    }

    #[test]
    fn every_file_opens_by_saying_what_it_is() {
        assert_obeyed(check_openings);
    }

    #[test]
    fn a_missing_file_or_folder_is_caught() {
        let mut files: Vec<String> = SERVICES
            .iter()
            .flat_map(|service| {
                FILES.iter().map(move |file| {
                    let tail = if file.ends_with('/') { "mod.rs" } else { "" };
                    format!("crates/{service}/src/{file}{tail}")
                })
            })
            .collect();
        files.retain(|file| !EXCEPTIONS.iter().any(|(path, ..)| file.starts_with(path)));
        assert!(missing(&files).is_empty());
        files.retain(|file| {
            file != "crates/auth/src/error.rs" && !file.starts_with("crates/cache/src/backend/")
        });
        let caught = [
            "crates/auth/src/error.rs: missing",
            "crates/cache/src/backend/: missing",
        ];
        assert_eq!(missing(&files), caught);
    }

    #[test]
    fn an_item_in_lib_rs_is_caught_and_docs_are_not() {
        let lib = "//! A struct and a fn.\n//! ```\n//! fn main() {}\n//! ```\nmod a;\n\
                   pub use a::{A, r#type_of};\n";
        assert!(items("lib.rs", lib).is_empty());
        for item in [
            "pub fn f() {}",
            "pub(crate) struct S;",
            "impl A {}",
            "const N: u8 = 1;",
        ] {
            assert_eq!(
                items("lib.rs", &format!("{lib}{item}\n")).len(),
                1,
                "{item}"
            );
        }
    }

    #[test]
    fn a_file_without_an_opening_is_caught() {
        let sources = [
            source("crates/a/src/lib.rs", "//! The noun.\n"),
            source("crates/a/src/b.rs", "use c::D;\n//! Late.\n"),
            source("crates/a/tests/ui/c.rs", "fn main() {}\n"),
            source("crates/a/build.rs", "fn main() {}\n"),
        ];
        let unopened = unopened(&sources);
        assert_eq!(unopened.len(), 1);
        assert!(unopened[0].starts_with("crates/a/src/b.rs"));
    }
}
