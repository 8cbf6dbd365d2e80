//! Repository rules and chores, one verb each.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its terminal"
)]

use std::env;
use std::process::ExitCode;

mod codegen;
mod crash;
mod fuzz;
mod install;
mod process;
mod ratios;
mod repo;
mod servers;
mod test;
mod tidy;
mod tools;

/// Why a verb ended without success.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The command line was not understood.
    Usage(String),
    /// The chore was understood and failed.
    Chore(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Chore(message)
    }
}

struct Verb {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<(), Failure>,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "codegen",
        arguments: "[--check]",
        about: "write the generated files, or only see whether they are current",
        run: codegen,
    },
    Verb {
        name: "crash",
        arguments: "[ROUNDS]",
        about: "kill the audit log's writer ROUNDS times (default 100) and look for what was lost",
        run: crash::run,
    },
    Verb {
        name: "crash-encryption",
        arguments: "[ROUNDS]",
        about: "kill rotations and shreds ROUNDS times (default 10) and look for what was lost",
        run: crash::encryption,
    },
    Verb {
        name: "fuzz",
        arguments: "[TARGET] [SECONDS]",
        about: "fuzz one target of crates/fuzz, or each, for SECONDS (default 10)",
        run: fuzz::run,
    },
    Verb {
        name: "install",
        arguments: "",
        about: "install what CI and the tests need and this machine lacks",
        run: install::run,
    },
    Verb {
        name: "overload",
        arguments: "[SECONDS]",
        about: "offer the audit log ten times what its disk takes for SECONDS (default 30); nothing may get lost",
        run: crash::overload,
    },
    Verb {
        name: "power",
        arguments: "[MACHINES]",
        about: "cut the power of MACHINES in memory (default 1000) that write audit logs; nothing may get lost",
        run: crash::power,
    },
    Verb {
        name: "ratios",
        arguments: "NAME | all",
        about: "measure one crate against its peers; table here, JSON in target/ratios",
        run: ratios::run,
    },
    Verb {
        name: "tamper",
        arguments: "[FLIPS]",
        about: "change audit logs at random, FLIPS bits (default 10000) and larger things; all must be named",
        run: crash::tamper,
    },
    Verb {
        name: "test",
        arguments: "[ARGUMENTS OF CARGO TEST]",
        about: "install missing servers, run every test; EONPRO_TEST_REQUIRE=all insists on them",
        run: test::run,
    },
    Verb {
        name: "tidy",
        arguments: "",
        about: "hold the repository to its rules",
        run: tidy::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        println!("{}", usage());
        return ExitCode::SUCCESS;
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        println!("{}", usage());
        return ExitCode::SUCCESS;
    }
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        eprintln!("error: no verb {name:?}\n\n{}", usage());
        return ExitCode::from(2);
    };
    match (verb.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Chore(message)) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            eprintln!(
                "error: {message}\nusage: cargo xtask {} {}",
                verb.name, verb.arguments
            );
            ExitCode::from(2)
        }
    }
}

fn usage() -> String {
    let mut text = String::from("usage: cargo xtask VERB\n");
    for verb in VERBS {
        let call = format!("{} {}", verb.name, verb.arguments);
        text.push_str(&format!("\n  {}\n      {}", call.trim_end(), verb.about));
    }
    text
}

fn codegen(arguments: &[String]) -> Result<(), Failure> {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err(Failure::Usage("codegen knows --check only".to_owned())),
    };
    Ok(codegen::run(check)?)
}

/// Refuses arguments for a verb that takes none.
fn no_arguments(arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [] => Ok(()),
        [first, ..] => Err(Failure::Usage(format!("unexpected argument {first:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verbs_are_listed_in_order_and_named_once() {
        assert!(VERBS.is_sorted_by(|one, next| one.name < next.name));
    }

    #[test]
    fn an_argument_too_many_is_a_usage_error() {
        let extra = ["now".to_owned()];
        assert!(matches!(tidy::run(&extra), Err(Failure::Usage(_))));
        assert!(matches!(codegen(&extra), Err(Failure::Usage(_))));
    }
}
