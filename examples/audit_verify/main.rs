//! Verifies an audit log directory with nothing but its bytes.
//!
//! `cargo run --release --example audit_verify -- DIR [--anchor FILE]... [--key VKEY]... [--policy FILE]`, or, for a proof
//! file of one entry, `-- --proof FILE --key VKEY`.
//!
//! An anchor is a signed head that was kept elsewhere: a copy of the file `checkpoint` of the directory,
//! made at any time. Without `--key` the keys are those that the log names in its file `keys`, and an
//! anchor shows that they are the right ones, because one of them signed it. With `--key` it follows rotations
//! of keys from there. With `--policy`, a policy file (C2SP tlog-policy), an anchor must be cosigned by a quorum.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | verified, and it is the log of which the anchors were kept; what is newer than they is printed |
//! | 1 | tampered: the first bad entry or file is printed. Also an anchor that no key of the log signed, and a proof that does not hold |
//! | 2 | unreadable, or the arguments make no sense |
//! | 3 | consistent in itself, but nothing shows that it is not another log: the entries are printed |
//!
//! An unfinished write at the end, as a crash leaves it, is exit code 2: open the log to recover it.

mod args;
mod proof;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use eonpro::audit::tlog::{Note, Policy};
use eonpro::audit::{
    Checkpoint, CheckpointError, Report, VerifyError, VerifyingKey, claimed_keys, followed_keys,
    verify_anchored,
};

use crate::args::{Args, Subject, USAGE};

/// No anchor and no proof is longer.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What was found, and the code to exit with.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    code: u8,
    text: String,
}

impl Finding {
    fn new(code: u8, text: String) -> Self {
        Self { code, text }
    }

    fn unreadable(what: &str, why: &dyn std::fmt::Display) -> Self {
        Self::new(2, format!("unreadable: {what}: {why}\n"))
    }
}

fn main() -> ExitCode {
    let found = match Args::parse(std::env::args_os().skip(1)) {
        Ok(args) => run(&args),
        Err(error) => Finding::new(2, format!("{error}\n\n{USAGE}\n")),
    };
    match std::io::stdout().write_all(found.text.as_bytes()) {
        Ok(()) => ExitCode::from(found.code),
        Err(_) => ExitCode::from(2),
    }
}

fn run(args: &Args) -> Finding {
    let found = match &args.subject {
        Subject::Log(dir) => check(dir, args),
        Subject::Proof(file) => proof::check(file, &args.keys),
    };
    found.unwrap_or_else(|found| found)
}

fn check(dir: &Path, args: &Args) -> Result<Finding, Finding> {
    let keys = match args.keys.is_empty() {
        true => claimed_keys(dir).map_err(|error| failed(&error))?,
        false => followed_keys(dir, &args.keys).map_err(|error| failed(&error))?,
    };
    let policy = args.policy.as_deref().map(policy).transpose()?;
    let anchors = args.anchors.iter();
    let anchors = anchors.map(|path| anchor(path, &keys, policy.as_ref()));
    let anchors = anchors.collect::<Result<Vec<_>, _>>()?;
    let report = verify_anchored(dir, &keys, &anchors).map_err(|error| failed(&error))?;
    Ok(describe(&report, !anchors.is_empty()))
}

/// The name and the text of a small file.
fn read(path: &Path) -> Result<(String, String), Finding> {
    let name = path.display().to_string();
    let read = File::open(path).and_then(|file| {
        let mut text = String::new();
        file.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
        Ok(text)
    });
    match read {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(Finding::unreadable(&name, &error)),
    }
}

fn policy(path: &Path) -> Result<Policy, Finding> {
    let (name, text) = read(path)?;
    Policy::parse(text.as_bytes()).map_err(|error| Finding::unreadable(&name, &error))
}

fn anchor(
    path: &Path,
    keys: &[VerifyingKey],
    policy: Option<&Policy>,
) -> Result<Checkpoint, Finding> {
    let (name, text) = read(path)?;
    if let Some(policy) = policy {
        let note = Note::parse(&text).map_err(|error| Finding::unreadable(&name, &error))?;
        if policy.is_cosigned(&note) != Ok(true) {
            let text = format!("tampered: {name}: too few witnesses cosigned this anchor\n");
            return Err(Finding::new(1, text));
        }
    }
    Checkpoint::open(&text, keys).map_err(|error| match error {
        CheckpointError::Signature => Finding::new(
            1,
            format!("tampered: {name}: no key of the log signed this anchor\n"),
        ),
        malformed => Finding::unreadable(&name, &malformed),
    })
}

fn failed(error: &VerifyError) -> Finding {
    match error {
        VerifyError::Tampered { .. } => Finding::new(1, format!("tampered: {error}\n")),
        other => Finding::new(2, format!("unreadable: {other}\n")),
    }
}

fn describe(report: &Report, is_anchored: bool) -> Finding {
    let (code, verdict) = match is_anchored {
        true => (0, "verified"),
        false => (3, "consistent, but not anchored"),
    };
    let mut text = format!(
        "{verdict}: {} entries in {} logs, {} checkpoints, {} entries not yet signed\n",
        report.entries, report.logs, report.checkpoints, report.unsigned
    );
    for rest in &report.unanchored {
        let (from, to) = (rest.indexes.start, rest.indexes.end.saturating_sub(1));
        text.push_str(&format!("not anchored: {}#{from} to {to}\n", rest.log));
    }
    if let Some(follows) = &report.follows {
        let kept = report.sealed.len();
        text.push_str(&format!(
            "follows a log that was given up: statement {follows}, {kept} kept here\n"
        ));
    }
    for gone in &report.pruned {
        let (log, entries) = (gone.log, gone.entries);
        text.push_str(&format!(
            "pruned, as the log accounts for: {entries} entries of {log}\n"
        ));
    }
    if report.spooled > 0 {
        text.push_str(&format!("waiting in the spool: {}\n", report.spooled));
    }
    Finding::new(code, text)
}

#[cfg(test)]
mod tests;
