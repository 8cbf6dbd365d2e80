//! Cargo manifests: shared dependencies in order, shared lints everywhere.

use toml::{Table, Value};

use crate::repo::{Repo, Source};

pub(crate) fn check_order(repo: &Repo) -> Result<Vec<String>, String> {
    Ok(unsorted(&repo.read("Cargo.toml")?))
}

/// Every member of the workspace takes the lints of the workspace.
pub(crate) fn check_lints(repo: &Repo) -> Result<Vec<String>, String> {
    unlinted(&manifests(repo)?)
}

/// All manifests of the repository.
pub(crate) fn manifests(repo: &Repo) -> Result<Vec<Source>, String> {
    repo.sources(|path| path == "Cargo.toml" || path.ends_with("/Cargo.toml"))
}

pub(crate) fn parse(manifest: &Source) -> Result<Table, String> {
    manifest
        .text
        .parse()
        .map_err(|error| format!("{}: {error}", manifest.path))
}

pub(crate) fn is_own_workspace(manifest: &Table) -> bool {
    manifest.contains_key("workspace")
}

/// The keys of `[workspace.dependencies]` that stand after one that they should precede.
fn unsorted(manifest: &str) -> Vec<String> {
    let lines = manifest
        .lines()
        .skip_while(|line| line.trim() != "[workspace.dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let mut previous = "";
    let mut violations = Vec::new();
    for line in lines {
        let Some((key, _)) = line.split_once('=') else {
            continue;
        };
        let key = key.trim();
        // The inner lines of a value that spans several begin with a blank.
        if line.starts_with([' ', '\t', '#']) {
            continue;
        }
        if key <= previous {
            violations.push(format!("Cargo.toml: {key} stands after {previous}"));
        }
        previous = key;
    }
    violations
}

fn unlinted(manifests: &[Source]) -> Result<Vec<String>, String> {
    let mut unlinted = Vec::new();
    for manifest in manifests {
        let table = parse(manifest)?;
        let shared = table
            .get("lints")
            .and_then(|lints| lints.get("workspace"))
            .and_then(Value::as_bool);
        if !is_own_workspace(&table) && shared != Some(true) {
            unlinted.push(format!(
                "{}: [lints] workspace = true is missing",
                manifest.path
            ));
        }
    }
    Ok(unlinted)
}

#[cfg(test)]
mod tests {
    use super::super::assert_obeyed;
    use super::*;

    #[test]
    fn the_shared_dependencies_are_sorted() {
        assert_obeyed(check_order);
    }

    #[test]
    fn every_crate_takes_the_shared_lints() {
        assert_obeyed(check_lints);
    }

    #[test]
    fn a_dependency_out_of_order_or_twice_is_caught() {
        let manifest = |names: &[&str]| {
            let mut text = String::from("[workspace]\nz = 1\n[workspace.dependencies]\n# a = 1\n");
            for name in names {
                text.push_str(&format!("{name} = {{ version = \"1\" }}\n"));
            }
            text + "[profile.dev]\na = 1\n"
        };
        assert!(unsorted(&manifest(&["bytes", "ring", "serde", "serde_json"])).is_empty());
        let caught = unsorted(&manifest(&["bytes", "serde", "ring"]));
        assert_eq!(caught, ["Cargo.toml: ring stands after serde"]);
        assert_eq!(unsorted(&manifest(&["ring", "ring"])).len(), 1);
    }

    #[test]
    fn a_crate_without_the_shared_lints_is_caught() {
        let check = |text: &str| {
            let manifest = Source {
                path: "crates/a/Cargo.toml".to_owned(),
                text: text.to_owned(),
            };
            unlinted(&[manifest]).unwrap().len()
        };
        assert_eq!(check("[lints]\nworkspace = true\n"), 0);
        assert_eq!(check("[workspace]\n"), 0);
        assert_eq!(check("[package]\nname = \"a\"\n"), 1);
        assert_eq!(check("[lints.rust]\nmissing_docs = \"warn\"\n"), 1);
    }
}
