//! Clippy's guards stand, and whoever steps around a lint says why.

use toml::Table;

use crate::repo::{Repo, Source};

use super::code::{blank_literals, is_word, line_of};

/// Methods that clippy must refuse.
const GUARDED: &[&str] = &[
    "eonpro_core::scope::Authority::assume",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "std::env::var",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "tokio::spawn",
    "uuid::Uuid::now_v7",
];

/// Clippy ignores a path that leads nowhere, so the guard on our own method is checked here.
const AUTHORITY: (&str, &str) = ("crates/core/src/scope.rs", "fn assume(");

pub(crate) fn check_reasons(repo: &Repo) -> Result<Vec<String>, String> {
    Ok(unreasoned(&repo.rust()?))
}

pub(crate) fn check_guards(repo: &Repo) -> Result<Vec<String>, String> {
    let mut violations = unguarded(&repo.read("clippy.toml")?)?;
    let (path, definition) = AUTHORITY;
    if !repo.read(path)?.contains(definition) {
        violations.push(format!(
            "{path}: {definition} is not here, so its guard is idle"
        ));
    }
    Ok(violations)
}

fn unreasoned(sources: &[Source]) -> Vec<String> {
    let mut unreasoned = Vec::new();
    for source in sources {
        let chars: Vec<char> = blank_literals(&source.text).chars().collect();
        for (start, attribute) in attributes(&chars) {
            let words: Vec<&str> = attribute
                .split(|char: char| !is_word(char))
                .filter(|word| !word.is_empty())
                .collect();
            let excepts = words.iter().any(|word| matches!(*word, "allow" | "expect"));
            if excepts && !words.contains(&"reason") {
                let line = line_of(&chars, start);
                unreasoned.push(format!(
                    "{}:{line}: a lint exception needs a reason",
                    source.path
                ));
            }
        }
    }
    unreasoned
}

/// Every attribute, from `#` to its closing bracket, with where it begins.
fn attributes(chars: &[char]) -> Vec<(usize, String)> {
    let mut attributes = Vec::new();
    for (at, _) in chars.iter().enumerate().filter(|(_, char)| **char == '#') {
        let rest = chars.get(at + 1..).unwrap_or_default();
        let rest = rest.strip_prefix(&['!']).unwrap_or(rest);
        if rest.first() != Some(&'[') {
            continue;
        }
        let mut depth = 0;
        let body = rest.iter().take_while(|char| {
            depth += match char {
                '[' => 1,
                ']' => -1,
                _ => 0,
            };
            depth > 0
        });
        attributes.push((at, body.collect()));
    }
    attributes
}

fn unguarded(clippy: &str) -> Result<Vec<String>, String> {
    let table: Table = clippy
        .parse()
        .map_err(|error| format!("clippy.toml: {error}"))?;
    let listed: Vec<&str> = table
        .get("disallowed-methods")
        .and_then(|list| list.as_array())
        .map(|list| list.iter())
        .into_iter()
        .flatten()
        .filter_map(|method| method.as_str().or(method.get("path")?.as_str()))
        .collect();
    Ok(GUARDED
        .iter()
        .filter(|method| !listed.contains(method))
        .map(|method| format!("clippy.toml: disallowed-methods lacks {method}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::assert_obeyed;
    use super::*;

    #[test]
    fn every_lint_exception_has_a_reason() {
        assert_obeyed(check_reasons);
    }

    #[test]
    fn clocks_and_authority_are_guarded() {
        assert_obeyed(check_guards);
    }

    #[test]
    fn an_exception_without_a_reason_is_caught() {
        let check = |text: &str| {
            let source = Source {
                path: "a.rs".to_owned(),
                text: text.to_owned(),
            };
            unreasoned(&[source])
        };
        for fine in [
            "#[expect(clippy::panic, reason = \"why\")]\nfn f() {}",
            "#![allow(\n    clippy::panic,\n    reason = \"why\"\n)]",
            "// #[allow(dead_code)]\nfn f() { x.expect(\"reason\"); }",
            "#[derive(Debug)]\nstruct Allow;",
        ] {
            assert!(check(fine).is_empty(), "{fine}");
        }
        for wrong in [
            "#[allow(dead_code)]",
            "#![expect(clippy::panic)]",
            "#[cfg_attr(test, allow(dead_code))]",
            "#[doc = \"reason\"]\n#[allow(dead_code)]",
        ] {
            assert_eq!(check(wrong).len(), 1, "{wrong}");
        }
        assert!(check("\n\n#[allow(dead_code)]")[0].starts_with("a.rs:3: "));
    }

    #[test]
    fn a_guard_that_is_gone_is_caught() {
        let listed = |methods: &[&str]| {
            let list: Vec<String> = methods
                .iter()
                .map(|method| format!("{{ path = \"{method}\" }}"))
                .collect();
            format!("disallowed-methods = [{}]", list.join(", "))
        };
        assert_eq!(unguarded(&listed(GUARDED)), Ok(Vec::new()));
        let gone = unguarded(&listed(&GUARDED[1..])).unwrap();
        assert_eq!(gone.len(), 1);
        assert!(gone[0].contains("Authority::assume"));
        assert_eq!(unguarded("").unwrap().len(), GUARDED.len());
    }
}
