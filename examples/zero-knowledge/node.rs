//! The client in Node: one process for each thing that it is asked, JSON in and JSON out.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// A Node that runs `client.mjs`.
#[derive(Debug)]
pub struct Node(PathBuf);

impl Node {
    /// Looks on the search path; `None` if there is none.
    pub fn find() -> Option<Self> {
        let path = variable("PATH")?;
        std::env::split_paths(&path)
            .map(|folder| folder.join("node"))
            .find(|program| program.is_file())
            .map(Self)
    }

    /// What the client answers.
    ///
    /// # Errors
    /// A text that names no secret, if Node fails.
    pub fn ask(&self, request: &Value) -> Result<Value, String> {
        let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("zero-knowledge/client.mjs");
        let mut child = Command::new(&self.0)
            .arg(client)
            .arg("--json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("node does not start: {error}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            let sent = stdin.write_all(request.to_string().as_bytes());
            sent.map_err(|error| format!("node does not listen: {error}"))?;
        }
        let said = child
            .wait_with_output()
            .map_err(|error| format!("node was lost: {error}"))?;
        if !said.status.success() {
            return Err(format!("the client in node failed: {}", said.status));
        }
        serde_json::from_slice(&said.stdout).map_err(|_| "node said no JSON".to_owned())
    }
}

/// An environment variable, if it is set.
#[expect(
    clippy::disallowed_methods,
    reason = "a program that starts another looks for it on the search path"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
