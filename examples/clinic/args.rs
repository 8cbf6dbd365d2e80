//! The command line: `[--fhir DIR] [--patients N] [--data DIR] [--json]`.

use std::path::PathBuf;

/// What the user asked for.
#[derive(Debug)]
pub struct Args {
    /// A FHIR R4 Bulk Data directory; without it, patients are made up.
    pub fhir: Option<PathBuf>,
    /// How many patients to make up.
    pub patients: usize,
    /// Where the foundation keeps its data; without it, a directory that is removed at the end.
    pub data: Option<PathBuf>,
    /// Print one JSON object instead of a summary.
    pub json: bool,
}

/// How to use the example.
pub const USAGE: &str = "usage: clinic [--fhir DIR] [--patients N] [--data DIR] [--json]

  --fhir DIR      read a FHIR R4 Bulk Data directory of NDJSON files
  --patients N    without --fhir: make up N patients (1 to 10000, default 50)
  --data DIR      keep the foundation's data in DIR, which must be empty or absent
  --json          print one JSON object on standard output";

impl Args {
    /// Parses the arguments after the program's name.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self { fhir: None, patients: 50, data: None, json: false };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value\n\n{USAGE}"));
            match word.as_str() {
                "--fhir" => args.fhir = Some(value()?.into()),
                "--data" => args.data = Some(value()?.into()),
                "--json" => args.json = true,
                "--patients" => {
                    let text = value()?;
                    args.patients = text
                        .parse()
                        .ok()
                        .filter(|count| (1..=10_000).contains(count))
                        .ok_or(format!("--patients takes a number from 1 to 10000\n\n{USAGE}"))?;
                }
                _ => return Err(format!("unknown argument\n\n{USAGE}")),
            }
        }
        Ok(args)
    }
}
