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
        let mut args = Self {
            fhir: None,
            patients: 50,
            data: None,
            json: false,
        };
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or(format!("{word} needs a value\n\n{USAGE}"))
            };
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
                        .ok_or(format!(
                            "--patients takes a number from 1 to 10000\n\n{USAGE}"
                        ))?;
                }
                _ => return Err(format!("unknown argument\n\n{USAGE}")),
            }
        }
        Ok(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn without_arguments_fifty_patients_are_made_up() {
        let args = parse("").unwrap();
        assert_eq!(args.patients, 50);
        assert_eq!((args.fhir, args.data, args.json), (None, None, false));
    }

    #[test]
    fn all_arguments_are_taken_in_any_order() {
        let args = parse("--json --data kept --patients 7 --fhir export").unwrap();
        assert_eq!(args.fhir, Some("export".into()));
        assert_eq!(args.data, Some("kept".into()));
        assert_eq!((args.patients, args.json), (7, true));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_usage() {
        let refusals = [
            ("--verbose", "unknown argument"),
            ("export", "unknown argument"),
            ("--json=yes", "unknown argument"),
            ("--fhir", "--fhir needs a value"),
            ("--json --data", "--data needs a value"),
            ("--patients", "--patients needs a value"),
            ("--patients many", "--patients takes a number"),
            ("--patients -3", "--patients takes a number"),
            ("--patients 0", "--patients takes a number"),
            ("--patients 10001", "--patients takes a number"),
            ("--patients 3.5", "--patients takes a number"),
        ];
        for (line, reason) in refusals {
            let message = parse(line).unwrap_err();
            assert!(message.starts_with(reason), "{line}: {message}");
            assert!(message.ends_with(USAGE), "{line}: {message}");
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_what_was_typed() {
        let message = parse("--patients 999-12-3456").unwrap_err();
        assert!(!message.contains("999"), "{message}");
        let message = parse("Lovelace").unwrap_err();
        assert!(!message.contains("Lovelace"), "{message}");
    }
}
