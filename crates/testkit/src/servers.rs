//! Real servers for tests: where their programs lie, and children that do not outlive the tests.
//!
//! `cargo xtask test` installs the programs and says in [`TOOLS`] where. A program that is missing
//! lets its tests end early with its name printed, unless [`REQUIRE`] insists on it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use eonpro_core::time::{Clock as _, SystemClock};
use tempfile::TempDir;

/// The variable that holds the folder of installed test tools.
pub const TOOLS: &str = "EONPRO_TEST_TOOLS";

/// The variable that says which servers must be there: `all`, or names with commas between.
pub const REQUIRE: &str = "EONPRO_TEST_REQUIRE";

/// Starts its arguments, and ends them when its standard input is closed: also if we are killed.
const WATCHED: &str = r#""$@" & child=$!; read -r _; kill "$child"; wait "$child""#;

/// How long a server may take to listen, on a machine that does much else.
const START: Duration = Duration::from_secs(120);

/// Where `program` lies: in the Python environment of the test tools, or on the search path. A path
/// that is absolute is looked up as it is.
#[must_use]
pub fn tool(program: &str) -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = tool_folders()
        .into_iter()
        .map(|tools| tools.join("python").join("bin"))
        .collect();
    if let Some(path) = variable_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    let mut candidates = folders.into_iter().map(|folder| folder.join(program));
    candidates.find(|candidate| candidate.is_file())
}

/// Hands on what was `found`. Without it the test is to return at once: `None`, after a line that
/// names the Debian `package`, unless the environment requires the server `name`.
///
/// # Panics
/// If the server is required and missing.
#[must_use]
pub fn require<T>(found: Option<T>, name: &str, package: &str) -> Option<T> {
    insist(found, name, &format!("apt-get install {package}"))
}

/// [`tool`], to be used as [`require`] is: for a `program` that `cargo xtask install` brings.
///
/// # Panics
/// If the server `name` is required and missing.
#[must_use]
pub fn require_tool(name: &str, program: &str) -> Option<PathBuf> {
    insist(tool(program), name, "cargo xtask install")
}

#[expect(
    clippy::panic,
    reason = "a required server that is missing fails the test"
)]
#[expect(clippy::print_stderr, reason = "told to whoever runs the tests")]
fn insist<T>(found: Option<T>, name: &str, remedy: &str) -> Option<T> {
    if found.is_none() {
        let required = variable_os(REQUIRE).unwrap_or_default();
        if is_required(&required.to_string_lossy(), name) {
            panic!("{REQUIRE}: {name} is missing; {remedy}");
        }
        eprintln!("ignored: {name} is missing; {remedy}");
    }
    found
}

fn is_required(required: &str, server: &str) -> bool {
    let mut names = required.split(',').map(str::trim);
    names.any(|name| name == "all" || name == server)
}

/// Told by variable, else beside this test's own build, else in the workspace.
fn tool_folders() -> Vec<PathBuf> {
    if let Some(told) = variable_os(TOOLS) {
        return vec![told.into()];
    }
    let own = std::env::current_exe().ok();
    // <target>/<profile>/deps/<test>
    let own = own.as_deref().and_then(|exe| exe.ancestors().nth(3));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let workspace = workspace.map(|root| root.join("target"));
    let targets = own.map(Path::to_owned).into_iter().chain(workspace);
    targets.map(|target| target.join("test-tools")).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how a test run is configured, not a part under test"
)]
fn variable_os(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A server that listens on a loopback port of its own, and ends when this is dropped or the test's
/// process ends in whatever way.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Server {
    /// Starts `program` with the arguments that `arguments` makes of a free port, and returns once it
    /// accepts connections there.
    ///
    /// # Errors
    /// If it could not be started, ended, or did not listen within two minutes; the text holds the
    /// end of what it said.
    pub async fn start<S: AsRef<OsStr>>(
        program: &Path,
        arguments: impl Fn(u16) -> Vec<S>,
    ) -> io::Result<Self> {
        let mut failure = io::Error::other("not tried");
        // Somebody else may take the port before the server does.
        for _ in 0..3 {
            let port = free_port()?;
            match Self::start_on(program, &arguments(port), port).await {
                Ok(server) => return Ok(server),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn start_on<S: AsRef<OsStr>>(
        program: &Path,
        arguments: &[S],
        port: u16,
    ) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let log = File::create(folder.path().join("log"))?;
        let child = Command::new("sh")
            .args(["-c", WATCHED, "sh"])
            .arg(program)
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut server = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            child,
            folder,
        };
        server.wait().await?;
        Ok(server)
    }

    async fn wait(&mut self) -> io::Result<()> {
        let clock = SystemClock::new();
        let until = clock.monotonic().plus(START);
        while clock.monotonic() < until {
            if tokio::net::TcpStream::connect(self.address).await.is_ok() {
                return Ok(());
            }
            let told = self.log();
            // The shell waits for its input, so only what the server says shows that it ended.
            if told.contains("Address already in use") || self.child.try_wait()?.is_some() {
                return Err(io::Error::other(told));
            }
            let pause = Duration::from_millis(50);
            clock.sleep_until(clock.monotonic().plus(pause)).await;
        }
        Err(io::Error::other(self.log()))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The end of what it has said.
    #[must_use]
    pub fn log(&self) -> String {
        let said = fs::read(self.folder.path().join("log")).unwrap_or_default();
        let end = said.len().saturating_sub(4096);
        String::from_utf8_lossy(said.get(end..).unwrap_or_default()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The shell reads the end of its input and ends the server.
        drop(self.child.stdin.take());
        let _it_ends_with_its_input = self.child.wait();
    }
}

pub(crate) fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_required_by_name_or_with_all_others() {
        for (required, expected) in [
            ("", false),
            ("all", true),
            ("moto", true),
            ("node, moto", true),
            ("node", false),
            ("motorway", false),
        ] {
            assert_eq!(is_required(required, "moto"), expected, "{required}");
        }
    }

    #[test]
    fn what_was_found_is_handed_on() {
        assert_eq!(require(Some(7), "anything", "package"), Some(7));
    }

    #[test]
    fn a_program_is_found_on_the_search_path_or_not_at_all() {
        assert!(tool("sh").is_some());
        assert_eq!(tool("no-such-program-anywhere"), None);
    }

    #[tokio::test]
    async fn a_server_ends_when_it_is_dropped() {
        let Some(python) = require_tool("python", "python3") else {
            return;
        };
        let arguments = |port: u16| {
            let port = port.to_string();
            ["-m", "http.server", "--bind", "127.0.0.1", &port]
                .map(str::to_owned)
                .to_vec()
        };
        let server = Server::start(&python, arguments).await.unwrap();
        let address = server.address();
        assert!(tokio::net::TcpStream::connect(address).await.is_ok());
        drop(server);
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
}
