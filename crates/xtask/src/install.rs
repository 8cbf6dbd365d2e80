//! Brings what CI and the tests need to a machine that has only Rust and a C compiler.

use std::path::Path;
use std::process::Command;

use crate::process::{cargo, find_program, run as run_command, succeeds};
use crate::tools::Tools;
use crate::{Failure, no_arguments, repo, servers};

const CARGO_DENY: &str = "0.20.2";

/// Installs what can be installed, and names what cannot.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    no_arguments(arguments)?;
    let root = repo::root()?;
    component(&root, "fmt", "rustfmt")?;
    component(&root, "clippy", "clippy")?;
    test_tools(&root)?;
    if succeeds(cargo(&root).args(["deny", "--version"])) {
        println!("cargo deny is here");
        return Ok(());
    }
    let deny = ["install", "--locked", "cargo-deny", "--version", CARGO_DENY];
    Ok(run_command(cargo(&root).args(deny))?)
}

/// The servers of the tests. One that cannot be brought is named; only a run that requires it fails.
fn test_tools(root: &Path) -> Result<(), String> {
    let tools = Tools::below_target(root)?;
    tools.bring(&servers::missing(&tools));
    let missing = servers::missing(&tools);
    for server in servers::SERVERS {
        let (name, remedy) = (server.name, server.source.remedy());
        if missing.contains(server) {
            println!("{name} is missing; {remedy}");
        } else {
            println!("{name} is here");
        }
    }
    Ok(())
}

/// A part of the toolchain, added through rustup where there is one.
fn component(root: &Path, verb: &str, name: &str) -> Result<(), String> {
    if succeeds(cargo(root).args([verb, "--version"])) {
        println!("cargo {verb} is here");
        return Ok(());
    }
    if find_program("rustup").is_none() {
        return Err(format!(
            "cargo {verb} is missing and there is no rustup; install {name} for this toolchain"
        ));
    }
    run_command(Command::new("rustup").args(["component", "add", name]))
}
