//! The crash campaigns: writers of the audit log, rotations of sealed rows, and shreds are killed; nothing
//! that was acknowledged may be lost, nor come back. And the campaign of changes to audit logs, all of which
//! must be named.

use crate::process::{cargo, run as run_command};
use crate::{Failure, repo};

const ROUNDS: u32 = 100;
const ENCRYPTION_ROUNDS: u32 = 10;
const FLIPS: u32 = 10_000;
const MACHINES: u32 = 1_000;
const SECONDS: u32 = 30;

/// Runs the ignored crash test of the audit crate for the given number of rounds.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let rounds = rounds(arguments, ROUNDS).map_err(Failure::Usage)?;
    campaign(&["--release", "-p", "eonpro-audit"], rounds)
}

/// Runs the ignored crash tests of the encryption crate, of rotations and of shreds, for the given number of rounds.
pub(crate) fn encryption(arguments: &[String]) -> Result<(), Failure> {
    let rounds = rounds(arguments, ENCRYPTION_ROUNDS).map_err(Failure::Usage)?;
    campaign(&["-p", "eonpro-encryption"], rounds)
}

/// Changes audit logs at random: so many flipped bits, a twentieth as many larger changes, a fiftieth as many
/// clean logs.
pub(crate) fn tamper(arguments: &[String]) -> Result<(), Failure> {
    let flips = rounds(arguments, FLIPS).map_err(Failure::Usage)?;
    let root = repo::root()?;
    let mut command = cargo(&root);
    command
        .args(["test", "--release", "-p", "eonpro-audit", "--test", "it"])
        .args(["--", "tamper_campaign", "--nocapture"])
        .env("EONPRO_TAMPER_ROUNDS", flips.to_string());
    println!("{flips} flipped bits");
    Ok(run_command(&mut command)?)
}

/// Cuts the power of machines in memory, and fails their calls, while they write audit logs.
pub(crate) fn power(arguments: &[String]) -> Result<(), Failure> {
    let machines = rounds(arguments, MACHINES).map_err(Failure::Usage)?;
    unit("power_tests", "EONPRO_POWER_ROUNDS", machines)
}

/// Offers the audit log ten times what its disk takes.
pub(crate) fn overload(arguments: &[String]) -> Result<(), Failure> {
    let seconds = rounds(arguments, SECONDS).map_err(Failure::Usage)?;
    unit("overload_tests", "EONPRO_OVERLOAD_SECONDS", seconds)
}

fn unit(tests: &str, variable: &str, count: u32) -> Result<(), Failure> {
    let root = repo::root()?;
    let mut command = cargo(&root);
    command
        .args(["test", "--release", "-p", "eonpro-audit", "--lib", "--"])
        .args([tests, "--nocapture"])
        .env(variable, count.to_string());
    Ok(run_command(&mut command)?)
}

fn campaign(what: &[&str], rounds: u32) -> Result<(), Failure> {
    let root = repo::root()?;
    let mut command = cargo(&root);
    command
        .arg("test")
        .args(what)
        .args(["--test", "it"])
        .args(["--", "the_campaign", "--ignored", "--nocapture"])
        .env("EONPRO_CRASH_ROUNDS", rounds.to_string());
    println!("{rounds} rounds");
    Ok(run_command(&mut command)?)
}

fn rounds(arguments: &[String], default: u32) -> Result<u32, String> {
    match arguments {
        [] => Ok(default),
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
            rounds(&words, ROUNDS)
        };
        assert_eq!(parse(&[]), Ok(100));
        assert_eq!(parse(&["7"]), Ok(7));
        for wrong in [&["0"][..], &["-1"], &["many"], &["1", "2"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
