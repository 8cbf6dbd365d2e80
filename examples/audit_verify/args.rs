//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use eonpro::audit::VerifyingKey;
use eonpro::audit::tlog::VerifierKey;

/// How to use the example.
pub(crate) const USAGE: &str = "usage: audit_verify DIR [--anchor FILE]... [--key VKEY]...

  DIR             the directory of an audit log that no process writes now
  --anchor FILE   a signed head that was kept elsewhere, such as an old copy of DIR/checkpoint
  --key VKEY      a key that may have signed, as Foundation::audit_key gives it (name+id+base64);
                  without any, the keys that DIR names itself";

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Args {
    /// The log.
    pub(crate) dir: PathBuf,
    /// Files with heads that were kept elsewhere.
    pub(crate) anchors: Vec<PathBuf>,
    /// Keys that may have signed; none means those that the log names.
    pub(crate) keys: Vec<VerifyingKey>,
}

impl Args {
    /// Parses the arguments after the program's name.
    pub(crate) fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut dir, mut anchors, mut keys) = (None, Vec::new(), Vec::new());
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next();
                value.ok_or(format!("{} needs a value", word.display()))
            };
            match word.to_str() {
                Some("--anchor") => anchors.push(value()?.into()),
                Some("--key") => {
                    let text = value()?;
                    let key = text.to_str().map(VerifierKey::parse);
                    let key = key.and_then(Result::ok);
                    keys.push(*key.ok_or("--key takes name+id+base64")?.key());
                }
                Some(option) if option.starts_with("--") => {
                    return Err(format!("unknown option {option}"));
                }
                _ if dir.is_none() => dir = Some(word.into()),
                _ => return Err("more than one directory".to_owned()),
            }
        }
        Ok(Self {
            dir: dir.ok_or("no directory")?,
            anchors,
            keys,
        })
    }
}
