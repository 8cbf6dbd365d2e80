//! A small witness of audit logs: it cosigns a head only if that is a later state of the last one.
//!
//! `cargo run --release --example witness -- --name example.com/w1 --key FILE --logs FILE --state DIR
//! [--listen 127.0.0.1:7380]`. Let somebody run it who does not run the log, on another machine, and never
//! restore its state from a backup: that state is what it is for.
//!
//! It speaks C2SP tlog-witness, `POST /add-checkpoint`, in clear HTTP: put a proxy with TLS before it where
//! others than this machine ask. `--logs` is a policy file (C2SP tlog-policy) whose `log` lines name the keys
//! of the logs that it knows; the rest of it does not matter. The first lines that it prints are its address
//! and its key, as they stand in the policies of those who trust it.

mod args;
mod server;
mod store;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::process::ExitCode;

use crate::args::{Args, USAGE};

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args_os().skip(1)) {
        Ok(args) => args,
        Err(error) => return fail(&format!("{error}\n\n{USAGE}")),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(server::serve(args, std::io::stdout())),
        Err(error) => Err(error.to_string()),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{error}");
    ExitCode::from(2)
}
