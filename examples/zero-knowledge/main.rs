//! Zero knowledge, level 3: a client in Node and one in Rust hold the keys, the server holds what it
//! cannot read.
//!
//! `cargo run --example zero-knowledge` starts `client.mjs` with the `node` of the search path.
//! `docs/zero-knowledge.md` tells what this protects and what it does not.
#![expect(
    unreachable_pub,
    reason = "an example is a crate of its own, with nobody above it"
)]

mod node;
mod server;
mod story;

use std::io::Write as _;
use std::process::ExitCode;

use crate::node::Node;

fn main() -> ExitCode {
    let told = match Node::find() {
        None => {
            "no `node` on the search path: install the package `nodejs`, 18 or newer".to_owned()
        }
        Some(node) => match story::run(&node) {
            Ok(facts) => facts.join("\n"),
            Err(failure) => {
                let _no_terminal = writeln!(std::io::stderr(), "zero-knowledge: {failure}");
                return ExitCode::FAILURE;
            }
        },
    };
    match writeln!(std::io::stdout(), "{told}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Node, or `None` if this machine may lack it.
    fn node() -> Option<Node> {
        let found = Node::find();
        if found.is_none() {
            let required = node::variable("EONPRO_TEST_REQUIRE").unwrap_or_default();
            let must = required.split(',').map(str::trim);
            let must = must.into_iter().any(|name| matches!(name, "node" | "all"));
            assert!(!must, "node is required: apt-get install nodejs");
            println!("node is missing, nothing was tested: apt-get install nodejs");
        }
        found
    }

    #[test]
    fn a_client_in_node_and_one_in_rust_read_each_other_and_the_server_reads_neither() {
        if let Some(node) = node() {
            let facts = story::run(&node).unwrap();
            assert_eq!(facts.len(), 6, "{facts:?}");
        }
    }
}
