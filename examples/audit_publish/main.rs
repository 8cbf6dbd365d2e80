//! Publishes the logs of a closed audit log directory as C2SP tlog-tiles, and makes proof files of entries.
//!
//! `cargo run --release --example audit_publish -- DIR TO [--key VKEY]... [--prove ORIGIN#INDEX]...`
//!
//! `TO` may be handed out by a web server or copied to a bucket as it is. A proof of `ORIGIN#INDEX` is
//! printed; put it into a file that ends in `.tlog-proof`. It holds the entry: give it only to those who may
//! read that. `audit_verify --proof` checks it, without the log and without `TO`.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use eonpro::audit::tlog::VerifierKey;
use eonpro::audit::{LogId, VerifyingKey, claimed_keys, prove, publish};

type Failure = Box<dyn std::error::Error>;

const USAGE: &str = "usage: audit_publish DIR TO [--key VKEY]... [--prove ORIGIN#INDEX]...

  DIR                    the directory of an audit log that no process writes now
  TO                     where its tiles are, or will be
  --key VKEY             a key that may have signed; without any, the keys that DIR names itself
  --prove ORIGIN#INDEX   print the proof of that entry, such as eonpro/audit/system#0";

fn main() -> ExitCode {
    let (text, code) = match run(std::env::args_os().skip(1)) {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (format!("{error}\n\n{USAGE}\n"), ExitCode::FAILURE),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(mut words: impl Iterator<Item = OsString>) -> Result<String, Failure> {
    let (mut places, mut keys, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--key") => keys.push(key(words.next())?),
            Some("--prove") => wanted.push(entry(words.next())?),
            Some(option) if option.starts_with("--") => {
                return Err(format!("unknown option {option}").into());
            }
            _ => places.push(PathBuf::from(word)),
        }
    }
    let [dir, to] = places.as_slice() else {
        return Err("two directories, please".into());
    };
    if keys.is_empty() {
        keys = claimed_keys(dir)?;
    }
    let done = publish(dir, &keys, to)?;
    if wanted.is_empty() {
        return Ok(format!(
            "published: {} entries in {} logs, {} new files\n",
            done.entries, done.logs, done.files
        ));
    }
    let mut text = String::new();
    for (log, index) in wanted {
        text.push_str(&prove(to, &keys, log, index)?.to_string());
    }
    Ok(text)
}

fn key(word: Option<OsString>) -> Result<VerifyingKey, Failure> {
    let text = word.ok_or("--key needs a value")?;
    let text = text.to_str().ok_or("--key takes name+id+base64")?;
    Ok(*VerifierKey::parse(text)?.key())
}

fn entry(word: Option<OsString>) -> Result<(LogId, u64), Failure> {
    let text = word.ok_or("--prove needs a value")?;
    let named = text.to_str().and_then(|text| text.rsplit_once('#'));
    let found = named.and_then(|(log, index)| Some((LogId::parse(log)?, index.parse().ok()?)));
    found.ok_or_else(|| "--prove takes ORIGIN#INDEX".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro::Foundation;

    #[tokio::test]
    async fn a_log_is_published_and_an_entry_proven() {
        let home = tempfile::tempdir().unwrap();
        let foundation = Foundation::embedded(home.path().join("data"));
        foundation.build().await.unwrap().shutdown().await;
        let dir = home.path().join("data/audit").into_os_string();
        let to = home.path().join("public").into_os_string();
        let words = |more: &[&str]| {
            let more = more.iter().map(OsString::from);
            let words: Vec<OsString> = [dir.clone(), to.clone()].into_iter().chain(more).collect();
            run(words.into_iter()).map_err(|error| error.to_string())
        };
        assert!(words(&[]).unwrap().starts_with("published: "));
        let proof = words(&["--prove", "eonpro/audit/system#0"]).unwrap();
        assert!(proof.starts_with("c2sp.org/tlog-proof@v1\n"), "{proof}");
        for (wrong, told) in [
            (&["third"][..], "two directories, please"),
            (
                &["--prove", "eonpro/audit/system"],
                "--prove takes ORIGIN#INDEX",
            ),
            (&["--prove"], "--prove needs a value"),
            (&["--key", "x"], "malformed"),
            (&["--what"], "unknown option --what"),
        ] {
            let error = words(wrong).unwrap_err();
            assert!(error.contains(told), "{wrong:?}: {error}");
        }
    }
}
