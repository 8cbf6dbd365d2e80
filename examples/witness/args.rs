//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How to use the example.
pub(crate) const USAGE: &str =
    "usage: witness --name NAME --key FILE --logs FILE --state DIR [--listen ADDRESS:PORT]

  --name NAME     the name of its key, such as a host and a path without a scheme
  --key FILE      its key, which is made if it is missing; kept with mode 0600
  --logs FILE     a policy file whose log lines name the logs that it knows
  --state DIR     what it cosigned last; made if it is missing
  --listen        where it listens; 127.0.0.1:7380 if it is not said";

/// What the user asked for.
#[derive(Debug, Clone)]
pub(crate) struct Args {
    pub(crate) name: String,
    pub(crate) key: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) listen: SocketAddr,
}

impl Args {
    /// Parses the arguments after the program's name.
    pub(crate) fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut name, mut key, mut logs, mut state) = (None, None, None, None);
        let mut listen = SocketAddr::from(([127, 0, 0, 1], 7380));
        while let Some(word) = words.next() {
            let option = word.display().to_string();
            let mut value = || words.next().ok_or(format!("{option} needs a value"));
            match word.to_str() {
                Some("--name") => name = value()?.to_str().map(str::to_owned),
                Some("--key") => key = Some(PathBuf::from(value()?)),
                Some("--logs") => logs = Some(PathBuf::from(value()?)),
                Some("--state") => state = Some(PathBuf::from(value()?)),
                Some("--listen") => {
                    let address = value()?.to_str().and_then(|text| text.parse().ok());
                    listen = address.ok_or("--listen takes an address and a port")?;
                }
                _ => return Err(format!("unknown option {option}")),
            }
        }
        Ok(Self {
            name: name.ok_or("--name is missing")?,
            key: key.ok_or("--key is missing")?,
            logs: logs.ok_or("--logs is missing")?,
            state: state.ok_or("--state is missing")?,
            listen,
        })
    }
}
