//! Who may import whom: dependencies point downward, and services do not know each other.

use std::path::Path;

use serde_json::Value;

use crate::process;
use crate::repo::{Repo, Source};

use super::code::{blank_literals, blank_tests};

const SERVICES: &[&str] = super::grammar::SERVICES;

/// The crates that may assume the authority to vouch for a tenant, by their folders.
const VOUCHERS: &[&str] = &[
    "crates/auth/",
    "crates/core/",
    "crates/eonpro/",
    "crates/tenant/",
    "crates/testkit/",
    "crates/tower/",
];

/// One crate of the workspace and the workspace crates that it depends upon.
#[derive(Debug)]
struct Member {
    /// Its folder, from the root of the repository.
    folder: String,
    imports: Vec<Import>,
}

#[derive(Debug)]
struct Import {
    /// The folder of the crate that is imported.
    folder: String,
    dev: bool,
    versioned: bool,
}

pub(crate) fn check(repo: &Repo) -> Result<Vec<String>, String> {
    let mut cargo = process::cargo(&repo.root);
    cargo.args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ]);
    let metadata = process::read(&mut cargo)?;
    let members = members(&metadata, &repo.root)?;
    Ok(violations(&members))
}

/// `Authority::assume` is named only where vouching is the crate's work, or in tests.
pub(crate) fn check_vouching(repo: &Repo) -> Result<Vec<String>, String> {
    Ok(vouching(&repo.rust()?))
}

fn vouching(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| {
            !VOUCHERS
                .iter()
                .any(|folder| source.path.starts_with(folder))
        })
        .filter(|source| blank_tests(&blank_literals(&source.text)).contains("Authority::assume"))
        .map(|source| {
            format!(
                "{}: only the door's crates may vouch for a tenant",
                source.path
            )
        })
        .collect()
}

fn violations(members: &[Member]) -> Vec<String> {
    let mut violations = Vec::new();
    for member in members {
        for import in &member.imports {
            let arrow = format!("{} -> {}", member.folder, import.folder);
            if import.folder == "crates/testkit" && import.versioned {
                violations.push(format!(
                    "{arrow}: testkit is named by path, without a version"
                ));
            }
            if !import.dev && !may_import(&member.folder, &import.folder) {
                violations.push(format!("{arrow}: not allowed"));
            }
        }
    }
    violations
}

/// Whether the crate in one folder may have that in the other as an ordinary dependency.
fn may_import(from: &str, to: &str) -> bool {
    let name = |folder: &str| folder.strip_prefix("crates/").map(str::to_owned);
    let is_service = |folder: &str| name(folder).is_some_and(|name| SERVICES.contains(&&*name));
    if from == "examples" {
        return true;
    }
    if to == "crates/testkit" || to == "crates/xtask" {
        return false;
    }
    match from {
        "crates/core" | "crates/derive" | "crates/xtask" => false,
        "crates/tower" => matches!(to, "crates/core" | "crates/auth" | "crates/tenant"),
        "crates/testkit" => to == "crates/core" || is_service(to),
        "crates/eonpro" => true,
        _ if from.starts_with("crates/backends/") => to == "crates/core" || is_service(to),
        _ if is_service(from) => matches!(to, "crates/core" | "crates/derive"),
        _ => false,
    }
}

fn members(metadata: &str, root: &Path) -> Result<Vec<Member>, String> {
    let metadata: Value =
        serde_json::from_str(metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = |value: &Value, key: &str| {
        let list = value.get(key).and_then(Value::as_array).cloned();
        list.ok_or_else(|| format!("cargo metadata: no {key}"))
    };
    let folder = |path: &str| {
        let inside = Path::new(path).strip_prefix(root).ok()?;
        Some(inside.to_string_lossy().into_owned())
    };
    let mut members = Vec::new();
    for package in list(&metadata, "packages")? {
        let manifest = text(&package, "manifest_path").unwrap_or_default();
        let own = folder(manifest.trim_end_matches("/Cargo.toml"))
            .ok_or_else(|| format!("{manifest}: outside the repository"))?;
        let mut imports = Vec::new();
        for dependency in list(&package, "dependencies")? {
            let path = text(&dependency, "path");
            if let Some(folder) = path.as_deref().and_then(folder) {
                imports.push(Import {
                    folder,
                    dev: text(&dependency, "kind").as_deref() == Some("dev"),
                    versioned: text(&dependency, "req").as_deref() != Some("*"),
                });
            }
        }
        members.push(Member {
            folder: own,
            imports,
        });
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(from: &str, to: &str, dev: bool) -> Vec<Member> {
        let import = Import {
            folder: to.to_owned(),
            dev,
            versioned: false,
        };
        vec![Member {
            folder: from.to_owned(),
            imports: vec![import],
        }]
    }

    #[test]
    fn the_workspace_obeys_the_import_rules() {
        super::super::assert_obeyed(check);
    }

    #[test]
    fn nobody_else_vouches_for_a_tenant() {
        super::super::assert_obeyed(check_vouching);
    }

    #[test]
    fn an_import_upward_or_sideways_is_caught() {
        for (from, to) in [
            ("crates/core", "crates/derive"),
            ("crates/derive", "crates/core"),
            ("crates/audit", "crates/encryption"),
            ("crates/cache", "crates/backends/redb"),
            ("crates/cache", "crates/eonpro"),
            ("crates/backends/redis", "crates/backends/redb"),
            ("crates/backends/redis", "crates/eonpro"),
            ("crates/backends/redis", "crates/tower"),
            ("crates/tower", "crates/audit"),
            ("crates/tenant", "crates/tower"),
            ("crates/eonpro", "crates/testkit"),
            ("crates/audit", "crates/testkit"),
            ("crates/testkit", "crates/eonpro"),
            ("crates/newcomer", "crates/core"),
        ] {
            assert_eq!(
                violations(&member(from, to, false)).len(),
                1,
                "{from} -> {to}"
            );
        }
    }

    #[test]
    fn an_import_downward_or_for_tests_is_free() {
        for (from, to, dev) in [
            ("crates/audit", "crates/core", false),
            ("crates/encryption", "crates/derive", false),
            ("crates/backends/redis", "crates/cache", false),
            ("crates/tower", "crates/tenant", false),
            ("crates/eonpro", "crates/backends/redb", false),
            ("crates/testkit", "crates/audit", false),
            ("crates/audit", "crates/testkit", true),
            ("crates/core", "crates/derive", true),
            ("examples", "crates/eonpro", false),
        ] {
            assert!(
                violations(&member(from, to, dev)).is_empty(),
                "{from} -> {to}"
            );
        }
    }

    #[test]
    fn a_testkit_with_a_version_is_caught() {
        let mut members = member("crates/audit", "crates/testkit", true);
        for import in members.iter_mut().flat_map(|member| &mut member.imports) {
            import.versioned = true;
        }
        assert_eq!(violations(&members).len(), 1);
    }

    #[test]
    fn metadata_is_read_with_kinds_and_versions() {
        let metadata = r#"{"packages": [{"manifest_path": "/r/crates/audit/Cargo.toml",
            "dependencies": [
                {"name": "eonpro-core", "kind": null, "req": "^0.0.1", "path": "/r/crates/core"},
                {"name": "eonpro-testkit", "kind": "dev", "req": "*", "path": "/r/crates/testkit"},
                {"name": "ring", "kind": null, "req": "^0.17"}]}]}"#;
        let members = members(metadata, Path::new("/r")).unwrap();
        let [audit] = &members[..] else {
            panic!("{members:?}");
        };
        assert_eq!(audit.folder, "crates/audit");
        let [core, testkit] = &audit.imports[..] else {
            panic!("{audit:?}");
        };
        assert_eq!(
            (&*core.folder, core.dev, core.versioned),
            ("crates/core", false, true)
        );
        assert_eq!((&*testkit.folder, testkit.dev), ("crates/testkit", true));
        assert!(!testkit.versioned);
    }

    #[test]
    fn vouching_elsewhere_is_caught_unless_a_test_does_it() {
        let source = |path: &str, text: &str| Source {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let call = "fn f() { Authority::assume(\"why\"); }";
        let sources = [
            source("crates/storage/src/a.rs", call),
            source("crates/tower/src/door.rs", call),
            source(
                "crates/cache/src/a.rs",
                &format!("#[cfg(test)]\nmod tests {{ {call} }}"),
            ),
            source("crates/cache/src/b.rs", "// Authority::assume\n"),
        ];
        let violations = vouching(&sources);
        assert_eq!(violations.len(), 1);
        assert!(violations[0].starts_with("crates/storage/src/a.rs"));
    }
}
