//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use eonpro::audit::VerifyingKey;
use eonpro::audit::tlog::VerifierKey;

/// How to use the example.
pub(crate) const USAGE: &str =
    "usage: audit_verify DIR [--anchor FILE]... [--key VKEY]... [--policy FILE]
       audit_verify --proof FILE --key VKEY

  DIR             the directory of an audit log that no process writes now
  --anchor FILE   a signed head that was kept elsewhere, such as an old copy of DIR/checkpoint
  --key VKEY      a key that may have signed, as Foundation::audit_key gives it (name+id+base64);
                  without any, the keys that DIR names itself
  --policy FILE   whom of the witnesses to believe: each anchor must be cosigned by its quorum
  --proof FILE    a proof file of one entry, as audit_publish makes it, or a disclosure of one field;
                  the entry and the field are printed";

/// What the user asked for.
#[derive(Debug)]
pub(crate) struct Args {
    /// What to verify.
    pub(crate) subject: Subject,
    /// Files with heads that were kept elsewhere.
    pub(crate) anchors: Vec<PathBuf>,
    /// Keys that may have signed; none means those that the log names.
    pub(crate) keys: Vec<VerifyingKey>,
    /// The file with the policy that anchors must satisfy.
    pub(crate) policy: Option<PathBuf>,
}

/// What is verified.
#[derive(Debug)]
pub(crate) enum Subject {
    /// The log in a directory.
    Log(PathBuf),
    /// The proof of one entry.
    Proof(PathBuf),
}

impl Args {
    /// Parses the arguments after the program's name.
    pub(crate) fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut subject, mut anchors, mut keys) = (None, Vec::new(), Vec::new());
        let mut policy = None;
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next();
                value.ok_or(format!("{} needs a value", word.display()))
            };
            match word.to_str() {
                Some("--proof") if subject.is_none() => {
                    subject = Some(Subject::Proof(value()?.into()));
                }
                Some("--policy") => policy = Some(PathBuf::from(value()?)),
                Some("--anchor") => anchors.push(value()?.into()),
                Some("--key") => {
                    let text = value()?;
                    let key = text.to_str().map(VerifierKey::parse);
                    let key = key.and_then(Result::ok);
                    keys.push(*key.ok_or("--key takes name+id+base64")?.key());
                }
                Some("--proof") => return Err("more than one thing to verify".to_owned()),
                Some(option) if option.starts_with("--") => {
                    return Err(format!("unknown option {option}"));
                }
                _ if subject.is_none() => subject = Some(Subject::Log(word.into())),
                _ => return Err("more than one thing to verify".to_owned()),
            }
        }
        let subject = subject.ok_or("no directory")?;
        match (&subject, keys.is_empty(), anchors.is_empty()) {
            (Subject::Proof(_), true, _) => Err("--proof needs a --key".to_owned()),
            (Subject::Proof(_), _, false) => Err("--proof takes no anchor".to_owned()),
            (_, _, true) if policy.is_some() => Err("--policy needs an --anchor".to_owned()),
            _ => Ok(Self {
                subject,
                anchors,
                keys,
                policy,
            }),
        }
    }
}
