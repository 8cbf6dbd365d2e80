//! A PostgreSQL server of one's own: its data in a folder that goes with it, on a loopback port, with
//! fsync on and passwords checked, and killed as by a power cut where a test asks for it.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use eonpro_core::time::{Clock as _, SystemClock};
use tempfile::TempDir;

use crate::servers::{free_port, require, tool};

/// Debian's package, and where it puts its programs.
const PACKAGE: &str = "postgresql-15";
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// Who the server runs as if we are root, which it refuses.
const ACCOUNT: &str = "postgres";

/// Starts its arguments, and ends them at once when its standard input is closed.
const WATCHED: &str =
    r#""$@" & child=$!; read -r _; kill -QUIT "$child" 2>/dev/null; wait "$child""#;

/// How long a server may take to accept connections, with what it recovers.
const START: Duration = Duration::from_secs(120);

/// The server. Dropped, it ends and its data goes.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// The owner of the cluster, a superuser.
    pub const OWNER: &'static str = "owner";
    /// The owner's password.
    pub const PASSWORD: &'static str = "owner-password-of-a-test";
    /// The database.
    pub const DATABASE: &'static str = "postgres";

    /// Makes a cluster and starts it. `None`, after a line that names the package, where PostgreSQL is
    /// not installed: the test is to return at once.
    ///
    /// # Panics
    /// If PostgreSQL is required and missing.
    ///
    /// # Errors
    /// If it could not be made or started; the text holds what the programs said.
    pub async fn start() -> io::Result<Option<Self>> {
        let found = tool(&format!("{PROGRAMS}/postgres"));
        if require(found, ACCOUNT, PACKAGE).is_none() {
            return Ok(None);
        }
        let folder = tempfile::Builder::new().prefix("eonpro-pg-").tempdir()?;
        let password = folder.path().join("password");
        writeln!(File::create(&password)?, "{}", Self::PASSWORD)?;
        File::create(folder.path().join("log"))?.set_permissions(Permissions::from_mode(0o666))?;
        give_away(&[folder.path(), &password])?;
        let mut server = Self {
            port: free_port()?,
            folder,
            child: None,
        };
        let mut initdb = as_account(&format!("{PROGRAMS}/initdb"))?;
        let methods = ["--auth=scram-sha-256", "--no-sync", "--encoding=UTF8"];
        initdb.args(methods).arg("--locale=C.UTF-8");
        initdb
            .args(["-U", Self::OWNER])
            .arg("--pwfile")
            .arg(&password);
        server.finish(initdb.arg("-D").arg(server.data()))?;
        server.launch().await?;
        Ok(Some(server))
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its Unix socket.
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it again after [`Self::kill`], and returns once it has recovered.
    ///
    /// # Errors
    /// If it did not come up; the text is the end of its log.
    pub async fn launch(&mut self) -> io::Result<()> {
        self.launch_with(&["fsync=on"]).await
    }

    /// [`Self::launch`] with settings, such as `fsync=off`.
    ///
    /// # Errors
    /// As [`Self::launch`].
    pub async fn launch_with(&mut self, settings: &[&str]) -> io::Result<()> {
        let log = File::options()
            .append(true)
            .open(self.folder.path().join("log"))?;
        let program = as_account(&format!("{PROGRAMS}/postgres"))?;
        let mut shell = Command::new("sh");
        shell.args(["-c", WATCHED, "sh"]).arg(program.get_program());
        shell.args(program.get_args()).arg("-D").arg(self.data());
        shell.arg("-k").arg(self.folder.path());
        shell.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        shell.args(["-c", "max_connections=60"]);
        shell.args(settings.iter().flat_map(|&setting| ["-c", setting]));
        shell.current_dir(self.folder.path()).stdin(Stdio::piped());
        self.child = Some(shell.stdout(log.try_clone()?).stderr(log).spawn()?);
        let clock = SystemClock::new();
        let until = clock.monotonic().plus(START);
        while clock.monotonic() < until {
            let mut ready = Command::new(format!("{PROGRAMS}/pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if ready.status()?.success() {
                return Ok(());
            }
            let pause = Duration::from_millis(50);
            clock.sleep_until(clock.monotonic().plus(pause)).await;
        }
        Err(io::Error::other(self.log()))
    }

    /// Starts it again with TLS, with a certificate for 127.0.0.1; tells the authority's certificate,
    /// as PEM.
    ///
    /// # Errors
    /// As [`Self::launch`]; or if `openssl` failed.
    pub async fn launch_with_tls(&mut self) -> io::Result<String> {
        const CURVE: [&str; 5] = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ];
        let openssl = |arguments: &[&str]| self.finish(Command::new("openssl").args(arguments));
        let authority = ["req", "-x509", "-subj", "/CN=authority", "-days", "2"];
        let files = ["-keyout", "ca.key", "-out", "ca.pem"];
        openssl(&[&authority[..], &CURVE, &files].concat())?;
        let request = ["req", "-subj", "/CN=server"];
        let files = ["-keyout", "server.key", "-out", "server.csr"];
        openssl(&[&request[..], &CURVE, &files].concat())?;
        let names = self.folder.path().join("names");
        fs::write(names, "subjectAltName=IP:127.0.0.1\n")?;
        let sign = [
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
        ];
        let files = [
            "-CAcreateserial",
            "-extfile",
            "names",
            "-days",
            "2",
            "-out",
            "server.pem",
        ];
        openssl(&[&sign[..], &files].concat())?;
        let file = |name: &str| self.folder.path().join(name);
        fs::set_permissions(file("server.key"), Permissions::from_mode(0o600))?;
        give_away(&[&file("server.key"), &file("server.pem")])?;
        let certificate = format!("ssl_cert_file={}", file("server.pem").display());
        let key = format!("ssl_key_file={}", file("server.key").display());
        let authority = fs::read_to_string(file("ca.pem"))?;
        self.launch_with(&["ssl=on", &certificate, &key]).await?;
        Ok(authority)
    }

    /// Kills every process of the server with SIGKILL, as a power cut does.
    ///
    /// # Errors
    /// If it was not running.
    pub fn kill(&mut self) -> io::Result<()> {
        let first = fs::read_to_string(self.data().join("postmaster.pid"))?;
        let first = first.lines().next().unwrap_or_default().to_owned();
        let children = format!("/proc/{first}/task/{first}/children");
        let children = fs::read_to_string(children).unwrap_or_default();
        let mut kill = Command::new("kill");
        kill.arg("-KILL").arg(&first);
        self.finish(&mut kill)?;
        // The others notice by themselves; some are gone before they are asked to be.
        let mut kill = Command::new("kill");
        kill.arg("-KILL").args(children.split_whitespace());
        let _some_are_gone = kill.stderr(Stdio::null()).status();
        self.end();
        Ok(())
    }

    /// Runs SQL as the owner, through `psql`; tells what it printed, one line for each row.
    ///
    /// # Errors
    /// If it failed; the text is what it said.
    pub fn sql(&self, sql: &str) -> io::Result<String> {
        let mut psql = Command::new(format!("{PROGRAMS}/psql"));
        psql.env("PGPASSWORD", Self::PASSWORD);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        psql.args(["-U", Self::OWNER, "-d", Self::DATABASE, "-c", sql]);
        Ok(self.finish(&mut psql)?.trim_end().to_owned())
    }

    /// The end of what it has said.
    #[must_use]
    pub fn log(&self) -> String {
        let said = fs::read(self.folder.path().join("log")).unwrap_or_default();
        let end = said.len().saturating_sub(8192);
        String::from_utf8_lossy(said.get(end..).unwrap_or_default()).into_owned()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn finish(&self, command: &mut Command) -> io::Result<String> {
        let command = command.current_dir(self.folder.path()).stdin(Stdio::null());
        let output = command.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(io::Error::other(said))
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The shell reads the end of its input and ends the server.
            drop(child.stdin.take());
            let _it_ends_with_its_input = child.wait();
        }
    }
}

impl Drop for Postgres {
    #[expect(clippy::print_stderr, reason = "told to whoever looks into a failure")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what PostgreSQL said:\n{}", self.log());
        }
        self.end();
    }
}

fn is_root() -> io::Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

/// `program`, to be run as an account that the server accepts.
fn as_account(program: &str) -> io::Result<Command> {
    if !is_root()? {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid",
        ACCOUNT,
        "--regid",
        ACCOUNT,
        "--init-groups",
        program,
    ]);
    Ok(command)
}

/// Makes what we made the account's own.
fn give_away(paths: &[&Path]) -> io::Result<()> {
    if !is_root()? {
        return Ok(());
    }
    let id = |flag: &str| {
        let output = Command::new("id").args([flag, ACCOUNT]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().parse::<u32>().map_err(io::Error::other)
    };
    let (user, group) = (id("-u")?, id("-g")?);
    for path in paths {
        chown(path, Some(user), Some(group))?;
    }
    Ok(())
}
