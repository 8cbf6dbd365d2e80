//! The crash campaign: writers of the audit log are killed, and nothing acknowledged may be lost.

use crate::process::{cargo, run as run_command};
use crate::{Failure, repo};

const ROUNDS: u32 = 100;

/// Runs the ignored crash test of the audit crate for the given number of rounds.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let rounds = rounds(arguments).map_err(Failure::Usage)?;
    let root = repo::root()?;
    let mut command = cargo(&root);
    command
        .args(["test", "--release", "-p", "eonpro-audit", "--test", "it"])
        .args(["--", "the_campaign", "--ignored", "--nocapture"])
        .env("EONPRO_CRASH_ROUNDS", rounds.to_string());
    println!("{rounds} rounds");
    Ok(run_command(&mut command)?)
}

fn rounds(arguments: &[String]) -> Result<u32, String> {
    match arguments {
        [] => Ok(ROUNDS),
        [rounds] => match rounds.parse() {
            Ok(rounds) if rounds > 0 => Ok(rounds),
            _ => Err(format!("ROUNDS is a number above 0, not {rounds:?}")),
        },
        _ => Err("more than one argument".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_a_number_above_zero_and_a_hundred_by_default() {
        let parse = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            rounds(&words)
        };
        assert_eq!(parse(&[]), Ok(100));
        assert_eq!(parse(&["7"]), Ok(7));
        for wrong in [&["0"][..], &["-1"], &["many"], &["1", "2"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
