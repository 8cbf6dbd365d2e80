//! Fuzzing: each target for a while, on whatever toolchain is here.
//!
//! libFuzzer's instrumentation needs flags that a stable compiler refuses unless it is told to trust
//! us, and its sanitizers need a nightly one. The libraries hold no unsafe code, so a run without a
//! sanitizer still sees what matters: panics, overflows, failed assertions, endless work.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::{cargo, run as run_command, succeeds};
use crate::{Failure, repo};

const FOLDER: &str = "crates/fuzz";
const SECONDS: u32 = 10;

/// Fuzzes one target, or all of them one after the other.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let root = repo::root()?;
    let targets = targets(&root)?;
    let asked = parse(arguments, &targets)?;
    if !succeeds(cargo(&root).args(["fuzz", "--version"])) {
        return Err(Failure::Chore(
            "cargo fuzz is missing: cargo install cargo-fuzz --locked; it needs a C++ compiler \
             (apt-get install g++)"
                .to_owned(),
        ));
    }
    for target in asked.targets {
        run_command(&mut fuzz(&root, &target, asked.seconds)?)?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Asked {
    targets: Vec<String>,
    seconds: u32,
}

fn parse(arguments: &[String], targets: &[String]) -> Result<Asked, Failure> {
    let mut asked = Asked {
        targets: targets.to_vec(),
        seconds: SECONDS,
    };
    let (name, seconds) = match arguments {
        [] => (None, None),
        [one] if one.parse::<u32>().is_ok() => (None, Some(one)),
        [name] => (Some(name), None),
        [name, seconds] => (Some(name), Some(seconds)),
        _ => return Err(Failure::Usage("too many arguments".to_owned())),
    };
    if let Some(seconds) = seconds {
        let parsed = seconds.parse().ok().filter(|seconds| *seconds > 0);
        let wrong = || Failure::Usage(format!("{seconds:?} is no number of seconds"));
        asked.seconds = parsed.ok_or_else(wrong)?;
    }
    if let Some(name) = name {
        if !targets.contains(name) {
            let known = targets.join(", ");
            return Err(Failure::Usage(format!("no target {name:?}, only {known}")));
        }
        asked.targets = vec![name.clone()];
    }
    Ok(asked)
}

/// The names of the targets: those of their programs.
fn targets(root: &Path) -> Result<Vec<String>, String> {
    let folder = root.join(FOLDER).join("fuzz_targets");
    let named = |error| format!("{FOLDER}: {error}");
    let mut targets = Vec::new();
    for file in fs::read_dir(folder).map_err(named)? {
        let path = file.map_err(named)?.path();
        if let Some(stem) = path.file_stem() {
            targets.push(stem.to_string_lossy().into_owned());
        }
    }
    targets.sort();
    Ok(targets)
}

/// What the fuzzer finds goes to the build folder: the corpora of the repository stay small.
fn fuzz(root: &Path, target: &str, seconds: u32) -> Result<Command, String> {
    let found = root.join(FOLDER).join("target/corpus").join(target);
    fs::create_dir_all(&found).map_err(|error| format!("{FOLDER}/target: {error}"))?;
    let mut command = cargo(root);
    command
        .args(["fuzz", "run", "--fuzz-dir", FOLDER, "--sanitizer", "none"])
        .arg(target)
        .arg(found)
        .arg(root.join(FOLDER).join("corpus").join(target))
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .args(["-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"])
        .env("RUSTC_BOOTSTRAP", "1");
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Asked, Failure> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        parse(&words, &["a".to_owned(), "b".to_owned()])
    }

    #[test]
    fn without_a_name_all_targets_run_for_a_short_while() {
        let asked = |targets: &[&str], seconds| Asked {
            targets: targets.iter().map(|&target| target.to_owned()).collect(),
            seconds,
        };
        assert_eq!(parsed(&[]), Ok(asked(&["a", "b"], SECONDS)));
        assert_eq!(parsed(&["60"]), Ok(asked(&["a", "b"], 60)));
        assert_eq!(parsed(&["b"]), Ok(asked(&["b"], SECONDS)));
        assert_eq!(parsed(&["b", "3600"]), Ok(asked(&["b"], 3600)));
    }

    #[test]
    fn what_is_no_target_and_what_is_no_time_is_a_usage_error() {
        for wrong in [&["c"][..], &["a", "soon"], &["a", "0"], &["a", "1", "2"]] {
            assert!(matches!(parsed(wrong), Err(Failure::Usage(_))), "{wrong:?}");
        }
    }

    #[test]
    fn the_repository_has_targets_and_each_has_a_corpus() {
        let root = repo::root().unwrap();
        let targets = targets(&root).unwrap();
        assert!(targets.iter().any(|target| target == "message"));
        for target in targets {
            assert!(root.join(FOLDER).join("corpus").join(&target).is_dir());
        }
    }
}
