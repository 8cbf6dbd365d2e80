//! Runs every test of the workspace and says what came of them.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::process::{cargo, words};
use crate::servers::{self, SERVERS, Server};
use crate::tools::{self, Tools};
use crate::{Failure, repo};

/// What all test binaries said together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Summary {
    runs: usize,
    passed: u64,
    failed: u64,
    ignored: u64,
    /// The names of the tests that failed, as they were printed.
    failures: Vec<String>,
}

impl Summary {
    /// Takes one line of a test binary's output into account.
    fn read(&mut self, line: &str) {
        if let Some(test) = line.strip_prefix("test ") {
            self.read_result(test);
            if let Some(name) = test.strip_suffix(" ... FAILED") {
                self.failures.push(name.to_owned());
            }
        }
    }

    /// `result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s`
    fn read_result(&mut self, test: &str) {
        let Some(result) = test.strip_prefix("result: ") else {
            return;
        };
        self.runs += 1;
        let Some((_, counts)) = result.split_once(". ") else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Runs unit, integration and documentation tests of all crates, to the end even if some fail.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let root = repo::root()?;
    let tools = Tools::below_target(&root)?;
    prepare(&tools)?;
    let mut command = cargo(&root);
    command.env(tools::VARIABLE, &tools.folder);
    command.args(["test", "--no-fail-fast"]);
    if !names_a_package(arguments) {
        command.arg("--workspace");
    }
    command.args(arguments).stdout(Stdio::piped());
    let call = words(&command);
    println!("$ {call}");
    let named = |error| format!("{call}: {error}");

    let mut child = command.spawn().map_err(named)?;
    let mut summary = Summary::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(named)?;
            println!("{line}");
            summary.read(&line);
        }
    }
    let status = child.wait().map_err(named)?;

    println!(
        "\n{} passed, {} failed, {} ignored in {} runs",
        summary.passed, summary.failed, summary.ignored, summary.runs
    );
    for failure in &summary.failures {
        println!("  failed: {failure}");
    }
    if status.success() {
        return Ok(());
    }
    Err(Failure::Chore(format!("{call}: {status}")))
}

/// Whether cargo is told which packages to test; beside `--workspace` it would not listen.
fn names_a_package(arguments: &[String]) -> bool {
    let cargos = arguments.iter().take_while(|argument| *argument != "--");
    cargos
        .map(String::as_str)
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

/// Brings what is missing where it can, and fails if what is required is missing still.
fn prepare(tools: &Tools) -> Result<(), String> {
    let required = servers::required();
    servers::check_names(SERVERS, &required)?;
    let mut missing = servers::missing(tools);
    if !missing.is_empty() {
        tools.bring(&missing);
        missing = servers::missing(tools);
    }
    print_outlook(&missing);
    servers::check_required(&missing, &required)
}

fn print_outlook(missing: &[Server]) {
    println!(
        "servers: {} of {}",
        SERVERS.len() - missing.len(),
        SERVERS.len()
    );
    for server in missing {
        println!(
            "  {} is missing, its tests end early; {}",
            server.name,
            server.source.remedy()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_package_is_tested_alone() {
        let named = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            names_a_package(&words)
        };
        assert!(named(&["-p", "eonpro-audit"]));
        assert!(named(&["--package=eonpro-audit"]));
        assert!(!named(&["--", "-p"]));
        assert!(!named(&[]));
    }

    #[test]
    fn the_summary_adds_what_the_binaries_say() {
        let mut summary = Summary::default();
        for line in [
            "running 3 tests",
            "test a::fact ... ok",
            "test a::lie ... FAILED",
            "test slow ... ignored, takes an hour",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; \
             finished in 0.01s",
            "test result: ok. 41 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            summary.read(line);
        }
        let expected = Summary {
            runs: 2,
            passed: 42,
            failed: 1,
            ignored: 1,
            failures: vec!["a::lie".to_owned()],
        };
        assert_eq!(summary, expected);
    }
}
