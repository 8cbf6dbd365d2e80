//! What the default build brings along: budgets, and packages that it must not contain.

use std::collections::BTreeSet;

use crate::process;
use crate::repo::Repo;

/// The most third-party packages that a crate may bring with its default features.
const BUDGETS: &[(&str, usize)] = &[("eonpro-core", 40), ("eonpro", 190)];

/// Packages that the default build must not contain, and below which version.
const BANS: &[(&str, Option<u64>)] = &[
    ("aws-lc-rs", None),
    ("aws-lc-sys", None),
    ("bincode", None),
    ("bindgen", None),
    ("cmake", None),
    ("fred", None),
    ("hyper", Some(version(1, 0))),
    ("jsonwebtoken", None),
    ("native-tls", None),
    ("openidconnect", None),
    ("openssl", None),
    ("openssl-sys", None),
    ("prost-build", None),
    ("protoc", None),
    ("protoc-bin-vendored", None),
    ("rustls", Some(version(0, 23))),
];

/// A third-party package as `cargo tree` prints it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
}

pub(crate) fn check_budgets(repo: &Repo) -> Result<Vec<String>, String> {
    let mut violations = Vec::new();
    for (name, budget) in BUDGETS {
        let tree = tree(repo, name, "normal")?;
        violations.extend(over_budget(name, *budget, &third_party(&tree)));
    }
    Ok(violations)
}

/// Nothing banned in the facade's default features, its build scripts included.
pub(crate) fn check_bans(repo: &Repo) -> Result<Vec<String>, String> {
    Ok(banned(&third_party(&tree(repo, "eonpro", "normal,build")?)))
}

fn tree(repo: &Repo, package: &str, edges: &str) -> Result<String, String> {
    let mut cargo = process::cargo(&repo.root);
    cargo.args(["tree", "--locked", "--prefix", "none", "--edges", edges]);
    process::read(cargo.args(["--package", package]))
}

/// The packages of a listing that do not come from a path, each once.
fn third_party(tree: &str) -> BTreeSet<Package> {
    let mut packages = BTreeSet::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            continue;
        };
        let Some(version) = version.strip_prefix('v') else {
            continue;
        };
        if !words.any(|word| word.starts_with("(/")) {
            packages.insert(Package {
                name: name.to_owned(),
                version: version.to_owned(),
            });
        }
    }
    packages
}

fn over_budget(name: &str, budget: usize, packages: &BTreeSet<Package>) -> Option<String> {
    let count = packages.len();
    (count > budget).then(|| format!("{name}: {count} third-party packages of {budget}"))
}

fn banned(packages: &BTreeSet<Package>) -> Vec<String> {
    packages
        .iter()
        .filter(|package| BANS.iter().any(|ban| is_banned(package, ban)))
        .map(|package| format!("{} {} is banned by default", package.name, package.version))
        .collect()
}

fn is_banned(package: &Package, (name, below): &(&str, Option<u64>)) -> bool {
    package.name == *name && below.is_none_or(|below| parse(&package.version) < below)
}

/// A version as one number that compares like its major and minor parts.
const fn version(major: u32, minor: u32) -> u64 {
    (major as u64) << 32 | minor as u64
}

fn parse(text: &str) -> u64 {
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    version(parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::assert_obeyed;
    use super::*;

    #[test]
    fn the_budgets_hold() {
        assert_obeyed(check_budgets);
    }

    #[test]
    fn the_default_build_contains_nothing_banned() {
        assert_obeyed(check_bans);
    }

    #[test]
    fn a_listing_counts_each_foreign_package_once() {
        let tree = "eonpro v0.0.1 (/home/ada/eonpro/crates/eonpro)\n\
                    eonpro-derive v0.0.1 (proc-macro) (/home/ada/eonpro/crates/derive)\n\
                    ring v0.17.14\nring v0.17.14 (*)\n\
                    async-trait v0.1.92 (proc-macro)\n\
                    syn v2.0.119\nsyn v3.0.10\n\n";
        let packages = third_party(tree);
        assert_eq!(packages.len(), 4);
        assert_eq!(over_budget("eonpro", 4, &packages), None);
        assert!(over_budget("eonpro", 3, &packages).is_some());
    }

    #[test]
    fn a_banned_package_is_caught_and_its_newer_version_is_not() {
        let tree = "hyper v0.14.32\nhyper v1.8.0\nrustls v0.21.12\nrustls v0.23.0\n\
                    openssl-sys v0.9.1\nopenssl-probe v0.1.6\n";
        let banned = banned(&third_party(tree));
        let names: Vec<&str> = banned
            .iter()
            .filter_map(|line| line.split(" is").next())
            .collect();
        assert_eq!(
            names,
            ["hyper 0.14.32", "openssl-sys 0.9.1", "rustls 0.21.12"]
        );
    }
}
