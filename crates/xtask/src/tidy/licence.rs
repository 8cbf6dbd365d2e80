//! One licence, in one file, stated by every crate.

use toml::Table;

use crate::repo::{Repo, Source};

use super::manifests::{is_own_workspace, manifests, parse};

const NAME: &str = "Apache-2.0";
const FILE: &str = "LICENSE";

pub(crate) fn check_files(repo: &Repo) -> Result<Vec<String>, String> {
    let mut violations = strays(&repo.files);
    let text = repo.read(FILE).unwrap_or_default();
    if !text.contains("Apache License") || !text.contains("Version 2.0, January 2004") {
        violations.push(format!("{FILE}: not the text of {NAME}"));
    }
    Ok(violations)
}

pub(crate) fn check_crates(repo: &Repo) -> Result<Vec<String>, String> {
    unstated(&manifests(repo)?)
}

fn strays(files: &[String]) -> Vec<String> {
    files
        .iter()
        .filter(|path| path.as_str() != FILE)
        .filter(|path| {
            let name = path.rsplit('/').next().unwrap_or(path).to_uppercase();
            let licence = ["LICENSE", "LICENCE", "COPYING", "UNLICENSE"];
            let code = name.ends_with(".RS");
            licence.iter().any(|word| name.starts_with(word)) && !code
        })
        .map(|path| format!("{path}: {FILE} at the root is the only licence file"))
        .collect()
}

fn unstated(manifests: &[Source]) -> Result<Vec<String>, String> {
    let mut unstated = Vec::new();
    for manifest in manifests {
        let table = parse(manifest)?;
        let package = table.get("package").and_then(|package| package.as_table());
        let Some(package) = package else {
            continue;
        };
        if !states(package, is_own_workspace(&table)) {
            unstated.push(format!(
                "{}: license.workspace = true is missing",
                manifest.path
            ));
        }
    }
    Ok(unstated)
}

/// A crate outside the workspace cannot inherit, so it names the licence itself.
fn states(package: &Table, own_workspace: bool) -> bool {
    let Some(licence) = package.get("license") else {
        return false;
    };
    if own_workspace {
        return licence.as_str() == Some(NAME);
    }
    let inherited = licence.get("workspace").and_then(|value| value.as_bool());
    inherited == Some(true)
}

#[cfg(test)]
mod tests {
    use super::super::assert_obeyed;
    use super::*;

    #[test]
    fn there_is_one_licence_file() {
        assert_obeyed(check_files);
    }

    #[test]
    fn every_crate_states_the_licence() {
        assert_obeyed(check_crates);
    }

    #[test]
    fn a_second_licence_file_is_caught() {
        let files = [
            "LICENSE",
            "crates/xtask/src/tidy/licence.rs",
            "docs/license-notes/a.md",
        ];
        let mut files: Vec<String> = files.map(str::to_owned).to_vec();
        assert!(strays(&files).is_empty());
        files.push("crates/a/LICENSE-MIT".to_owned());
        files.push("COPYING".to_owned());
        assert_eq!(strays(&files).len(), 2);
    }

    #[test]
    fn a_crate_without_the_shared_licence_is_caught() {
        let check = |text: &str| {
            let manifest = Source {
                path: "crates/a/Cargo.toml".to_owned(),
                text: text.to_owned(),
            };
            unstated(&[manifest]).unwrap().len()
        };
        assert_eq!(check("[package]\nlicense.workspace = true\n"), 0);
        assert_eq!(
            check("[package]\nlicense = \"Apache-2.0\"\n[workspace]\n"),
            0
        );
        assert_eq!(check("[workspace]\nmembers = []\n"), 0);
        assert_eq!(check("[package]\nname = \"a\"\n"), 1);
        assert_eq!(check("[package]\nlicense = \"MIT\"\n"), 1);
        assert_eq!(check("[package]\nlicense = \"MIT\"\n[workspace]\n"), 1);
    }
}
