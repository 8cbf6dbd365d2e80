//! Child processes: run one to its end, or read what it says.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What `cargo run` says of the package it runs, as far as ring's build script looks at it. Handed
/// on, it makes that script run again, and with it all that stands on ring, whenever a build
/// through this tool follows a plain one.
const OF_THIS_PACKAGE: &[&str] = &[
    "CARGO_MANIFEST_DIR",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// The cargo that runs this tool, in the given folder.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(variable("CARGO").unwrap_or_else(|| "cargo".to_owned()));
    command.current_dir(folder);
    for name in OF_THIS_PACKAGE {
        command.env_remove(name);
    }
    command
}

/// An environment variable, if it is set to text that is not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "a command-line tool is configured by its environment"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Runs a command on our terminal.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let words = words(command);
    println!("$ {words}");
    let status = command
        .status()
        .map_err(|error| format!("{words}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{words}: {status}"))
}

/// Runs a command and returns what it wrote to its standard output.
pub(crate) fn read(command: &mut Command) -> Result<String, String> {
    let words = words(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{words}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{words}: {}\n{}", output.status, said.trim_end()));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{words}: {error}"))
}

/// Whether a command can be started and succeeds; what it says is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Where a program lies on the search path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = variable("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// A command as one would type it.
pub(crate) fn words(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(OsStr::new("?"));
    let mut words = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        words.push(' ');
        words.push_str(&argument.to_string_lossy());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_named_in_the_error() {
        let error = run(Command::new("false").arg("really")).unwrap_err();
        assert!(error.starts_with("false really: "), "{error}");
    }

    #[test]
    fn cargo_is_not_told_which_package_runs_it() {
        let command = cargo(Path::new("."));
        for name in OF_THIS_PACKAGE {
            let removed = (OsStr::new(name), None);
            assert!(command.get_envs().any(|pair| pair == removed), "{name}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_not_found() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("no-such-program-anywhere"), None);
    }
}
