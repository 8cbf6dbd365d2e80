//! The repository's rules, each a function from data to violations, each also a test.
//!
//! A rule that needs an exception names it here in the source, with its date and reason.

mod code;
mod generated;
mod grammar;
mod imports;
mod licence;
mod lints;
mod manifests;
mod packages;
mod paths;
mod size;

use crate::repo::Repo;
use crate::{Failure, no_arguments};

struct Rule {
    name: &'static str,
    /// The violations, each beginning with the file or crate that it is about.
    check: fn(&Repo) -> Result<Vec<String>, String>,
}

const RULES: &[Rule] = &[
    rule("imports: who may depend on whom", imports::check),
    rule(
        "imports: who may vouch for a tenant",
        imports::check_vouching,
    ),
    rule("grammar: every service has the same files", grammar::check),
    rule(
        "grammar: every file says what it is",
        grammar::check_openings,
    ),
    rule("size: no file over 600 lines", size::check_files),
    rule("size: no function over 80 lines", size::check_functions),
    rule("packages: budgets hold", packages::check_budgets),
    rule("packages: nothing banned by default", packages::check_bans),
    rule("generated files are current", generated::check),
    rule("no path of one machine", paths::check),
    rule("licence: one file", licence::check_files),
    rule("licence: every crate states it", licence::check_crates),
    rule(
        "manifests: shared dependencies are sorted",
        manifests::check_order,
    ),
    rule(
        "manifests: every crate takes the lints",
        manifests::check_lints,
    ),
    rule("lints: every exception has a reason", lints::check_reasons),
    rule(
        "lints: clocks and authority are guarded",
        lints::check_guards,
    ),
];

const fn rule(name: &'static str, check: fn(&Repo) -> Result<Vec<String>, String>) -> Rule {
    Rule { name, check }
}

/// Holds the repository to every rule and prints all violations.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    no_arguments(arguments)?;
    let repo = Repo::open()?;
    let mut broken = 0;
    for rule in RULES {
        let violations = match (rule.check)(&repo) {
            Ok(violations) => violations,
            Err(error) => vec![error],
        };
        println!(
            "{} {}",
            if violations.is_empty() {
                "  ok"
            } else {
                "FAIL"
            },
            rule.name
        );
        for violation in &violations {
            println!("       {violation}");
        }
        broken += usize::from(!violations.is_empty());
    }
    if broken == 0 {
        return Ok(());
    }
    Err(Failure::Chore(format!(
        "{broken} of {} rules broken",
        RULES.len()
    )))
}

/// Fails a test with the violations that a rule finds in this repository.
#[cfg(test)]
#[track_caller]
fn assert_obeyed(check: fn(&Repo) -> Result<Vec<String>, String>) {
    let violations = check(&Repo::open().unwrap()).unwrap();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}
