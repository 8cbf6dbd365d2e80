//! A fresh SoftHSM2 token for each test.
//!
//! SoftHSM learns where its tokens are from the environment, once in a process. So a test runs its
//! body in a process of its own: it starts its own binary once more with the variable set.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use eonpro_core::port::SealScope;
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_encryption::{KeyId, WrapContext};
use eonpro_pkcs11::{Pkcs11Config, Pkcs11Root};
use eonpro_testkit::{scope, servers};

const MODULES: [&str; 3] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
];
const UTIL: &str = "/usr/bin/softhsm2-util";
const LABEL: &str = "eonpro test";
pub(crate) const PIN: &str = "123456";
/// SoftHSM's own variable: the file that says where its tokens are.
const CONF: &str = "SOFTHSM2_CONF";
/// The folder of the token, for the process that runs a test's body.
const FOLDER: &str = "EONPRO_TEST_TOKEN";

/// The token that a test's body works on.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    folder: PathBuf,
}

impl Token {
    /// Where SoftHSM keeps its objects.
    pub(crate) fn objects(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    pub(crate) fn config(&self, key: &str) -> Pkcs11Config {
        Pkcs11Config {
            module: module().unwrap(),
            token: LABEL.to_owned(),
            key: key.to_owned(),
            ..Pkcs11Config::with_pin(SecretText::new(PIN.to_owned()))
        }
    }

    /// A root key with a label of its own.
    pub(crate) async fn fresh_root(&self) -> (Pkcs11Config, Arc<Pkcs11Root>) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let config = self.config(&format!("root-{number}"));
        let root = Pkcs11Root::create(config.clone()).await.unwrap();
        (config, Arc::new(root))
    }
}

fn module() -> Option<PathBuf> {
    MODULES.iter().map(PathBuf::from).find(|path| path.exists())
}

/// Runs `body` on a fresh token in a process of its own. `test` is the name of the test that calls.
pub(crate) fn with_token(test: &str, body: impl AsyncFnOnce(Token)) {
    if let Some(token) = given() {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(4).enable_all().build().unwrap();
        runtime.block_on(body(token));
        return;
    }
    let found = module().filter(|_| Path::new(UTIL).exists());
    if servers::require(found, "softhsm2", "softhsm2").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let run = this_binary(&["--exact", test, "--nocapture"], folder.path()).output();
    let run = run.unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let warned = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}\n{warned}");
    assert!(said.contains("1 passed"), "no test named {test}: {said}");
}

/// The token that the parent process made.
#[expect(clippy::disallowed_methods, reason = "a word from the parent process")]
pub(crate) fn given() -> Option<Token> {
    let folder = PathBuf::from(std::env::var(FOLDER).ok()?);
    Some(Token { folder })
}

/// This binary once more, on the token in `folder`.
pub(crate) fn this_binary(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(arguments)
        .env(CONF, folder.join("softhsm2.conf"))
        .env(FOLDER, folder);
    command
}

impl Token {
    /// A further process on this token, which runs the ignored test of that name.
    pub(crate) fn other_process(&self, test: &str) -> Command {
        this_binary(&["--ignored", "--exact", test], &self.folder)
    }
}

fn make(folder: &Path) {
    let tokens = folder.join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let conf = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    std::fs::write(folder.join("softhsm2.conf"), conf).unwrap();
    let made = Command::new(UTIL)
        .args(["--init-token", "--free", "--label", LABEL])
        .args(["--pin", PIN, "--so-pin", "654321"])
        .env(CONF, folder.join("softhsm2.conf"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

pub(crate) fn context() -> WrapContext {
    WrapContext {
        scope: SealScope::from(&scope(1)),
        key: KeyId::from_be_bytes([0, 0, 0, 1]),
    }
}

pub(crate) fn key() -> KeyBytes<32> {
    KeyBytes::take(&mut [7; 32])
}
