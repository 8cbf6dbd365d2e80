//! Real witnesses, each a process of its own on a loopback port, and the log of a real foundation.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use eonpro::audit::tlog::{AddCheckpoint, Answer, Note, Policy, Refusal, VerifierKey};
use eonpro::audit::{
    AuditError, Checkpoint, HeadConflict, Keeper, KeyFileSigner, LogId, VerifyingKey, Witness as _,
    Witnesses,
};
use eonpro::core::event::Digest;
use eonpro::core::port::Signer as _;
use eonpro::{Foundation, FoundationConfig, FoundationError};
use eonpro_witness::{HttpWitness, WitnessTls, witnesses_of};

use super::args::Args;
use super::server;

const HOME: &str = "EONPRO_WITNESS_HOME";

/// What the child serves: the arguments, a line each.
#[expect(clippy::disallowed_methods, reason = "the test talks to its child")]
fn words() -> Option<String> {
    std::env::var(HOME).ok()
}

#[test]
#[ignore = "the child of the other tests; does nothing by itself"]
fn child_serves_until_it_is_killed() {
    let Some(words) = words() else { return };
    let args = Args::parse(words.lines().map(Into::into)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(server::serve(args, std::io::stdout()))
        .unwrap();
}

/// A witness in a process of its own. Its port stays the same, also over a restart.
struct Running {
    home: PathBuf,
    name: &'static str,
    child: Child,
    address: String,
    key: VerifierKey,
}

impl Running {
    fn start(home: &Path, name: &'static str, log: &str) -> Self {
        let home = home.join(name);
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("logs"), format!("{log}\nquorum none\n")).unwrap();
        let (child, address, key) = launch(&home, name, "127.0.0.1:0");
        Self {
            home,
            name,
            child,
            address,
            key,
        }
    }

    /// kill -9.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        let (child, address, key) = launch(&self.home, self.name, &self.address);
        assert_eq!((&address, &key), (&self.address, &self.key));
        self.child = child;
    }

    fn line(&self) -> String {
        format!(
            "witness {} {} http://{}\n",
            self.name, self.key, self.address
        )
    }

    fn client(&self) -> HttpWitness {
        let url = format!("http://{}", self.address);
        HttpWitness::new(self.key.clone(), &url, &WitnessTls::Off).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(home: &Path, name: &str, listen: &str) -> (Child, String, VerifierKey) {
    let path = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let words = [
        "--name".to_owned(),
        name.to_owned(),
        "--key".to_owned(),
        path("key"),
        "--logs".to_owned(),
        path("logs"),
        "--state".to_owned(),
        path("state"),
        "--listen".to_owned(),
        listen.to_owned(),
    ];
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["tests::child_serves_until_it_is_killed", "--exact"])
        .args(["--ignored", "--nocapture"])
        .env(HOME, words.join("\n"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut find = |what: &str| {
        let found = lines.find_map(|line| {
            let line = line.unwrap();
            // The test harness may have begun the line.
            line.split_once(what).map(|(_, rest)| rest.to_owned())
        });
        found.expect("the witness does not start")
    };
    let address = find("listening ");
    let key = VerifierKey::parse(&find("key ")).unwrap();
    (child, address, key)
}

/// A foundation in `dir` with these witnesses, of whom two must cosign; opened and closed.
async fn run(dir: &Path, policy: &Policy) -> Result<(), FoundationError> {
    let asked = witnesses_of(policy, &WitnessTls::Off).unwrap();
    let mut config = FoundationConfig::default();
    config.audit.witnesses = Some(Witnesses::new(policy.clone(), asked).unwrap());
    let foundation = Foundation::embedded(dir).config(config).build().await?;
    foundation.shutdown().await;
    Ok(())
}

/// The key of the log in `dir`, which need not be there yet.
fn log_key(dir: &Path) -> VerifierKey {
    fs::create_dir_all(dir.join("keys")).unwrap();
    let signer = KeyFileSigner::open_or_create(&dir.join("keys/audit.key")).unwrap();
    VerifyingKey::from_bytes(signer.public_key()).verifier_key(LogId::Directory)
}

fn policy(log: &VerifierKey, witnesses: &[Running]) -> Policy {
    let lines: String = witnesses.iter().map(Running::line).collect();
    let text = format!("log {log}\n{lines}group all 2 w1 w2 w3\nquorum all\n");
    Policy::parse(text.as_bytes()).unwrap()
}

fn published(dir: &Path) -> Note {
    let text = fs::read_to_string(dir.join("audit/checkpoint")).unwrap();
    Note::parse(&text).unwrap()
}

fn cosigners(dir: &Path, witnesses: &[Running]) -> Vec<String> {
    let keys: Vec<VerifierKey> = witnesses.iter().map(|one| one.key.clone()).collect();
    let note = published(dir);
    let made = note.verify(&keys).unwrap_or_default();
    let mut names: Vec<String> = made.iter().map(|one| one.key.name().to_string()).collect();
    names.sort_unstable();
    names
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => _ = fs::copy(&path, &target).unwrap(),
        }
    }
}

fn rolled_back(refused: Result<(), FoundationError>) -> Box<HeadConflict> {
    match refused {
        Err(FoundationError::Audit(AuditError::RolledBack(conflict))) => conflict,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_witnesses_cosign_and_a_restored_backup_is_found_out() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let log = log_key(&data);
    let line = format!("log {log}");
    let start = |name| Running::start(home.path(), name, &line);
    let mut witnesses = ["w1", "w2", "w3"].map(start);
    let trusted = policy(&log, &witnesses);
    witnesses[1].kill();
    run(&data, &trusted).await.unwrap();
    assert_eq!(cosigners(&data, &witnesses), ["w1", "w3"]);
    trusted.verify(&published(&data)).unwrap();

    // A backup of everything, the state with the stored head among it.
    let backup = home.path().join("backup");
    copy(&data, &backup);
    witnesses[1].restart();
    run(&data, &trusted).await.unwrap();
    assert_eq!(cosigners(&data, &witnesses), ["w1", "w2", "w3"]);
    let kept = published(&data).text().lines().nth(1).unwrap().to_owned();

    fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    // One that remembers is enough, also after it was killed.
    for only in 0..3 {
        witnesses.iter_mut().for_each(Running::kill);
        witnesses[only].restart();
        let conflict = rolled_back(run(&data, &trusted).await);
        let name = witnesses[only].name.to_owned();
        assert_eq!(conflict.keeper, Keeper::Witness(name));
        assert_eq!(conflict.kept_size.to_string(), kept);
        for (at, one) in witnesses.iter_mut().enumerate() {
            if at != only {
                one.restart();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_its_witnesses_goes_on_and_they_catch_up() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let log = log_key(&data);
    let line = format!("log {log}");
    let start = |name| Running::start(home.path(), name, &line);
    let mut witnesses = ["w1", "w2", "w3"].map(start);
    let trusted = policy(&log, &witnesses);
    run(&data, &trusted).await.unwrap();
    witnesses.iter_mut().for_each(Running::kill);
    for _ in 0..3 {
        run(&data, &trusted).await.unwrap();
        assert!(cosigners(&data, &witnesses).is_empty());
    }
    witnesses.iter_mut().for_each(Running::restart);
    run(&data, &trusted).await.unwrap();
    assert_eq!(cosigners(&data, &witnesses), ["w1", "w2", "w3"]);
}

/// A log of one leaf and then two, signed by a key of its own.
struct Tiny {
    signer: KeyFileSigner,
    key: VerifierKey,
}

impl Tiny {
    fn new(home: &Path, name: &str) -> Self {
        let signer = KeyFileSigner::open_or_create(&home.join(name)).unwrap();
        let public = VerifyingKey::from_bytes(signer.public_key());
        let key = public.verifier_key(LogId::Directory);
        Self { signer, key }
    }

    async fn note(&self, size: u64, root: Digest) -> Note {
        let log = LogId::Directory;
        let head = Checkpoint { log, size, root };
        Note::parse(&head.sign(&self.signer).await.unwrap()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_status_is_answered_as_the_specification_says() {
    let home = tempfile::tempdir().unwrap();
    let (tiny, stranger) = (Tiny::new(home.path(), "a"), Tiny::new(home.path(), "b"));
    let mut running = Running::start(home.path(), "w1", &format!("log {}", tiny.key));
    let witness = running.client();
    let root = |byte: u8| Digest::of(&[byte]);
    let one = tiny.note(1, root(1)).await;
    let ask = async |old, proof, note: &Note| {
        let request = AddCheckpoint::new(old, proof, note.clone()).unwrap();
        let answer = witness.add_checkpoint(&request).await.unwrap();
        if let Answer::Cosigned(lines) = &answer {
            let accepted = request.accept(lines, std::slice::from_ref(witness.key()));
            assert_eq!(accepted.unwrap().len(), 1);
        }
        answer
    };
    let refused = Answer::Refused;
    assert_eq!(
        ask(0, Vec::new(), &stranger.note(1, root(1)).await).await,
        refused(Refusal::Untrusted)
    );
    assert_eq!(ask(2, Vec::new(), &one).await, refused(Refusal::Malformed));
    assert_eq!(
        ask(0, vec![root(2)], &one).await,
        refused(Refusal::Inconsistent)
    );
    assert_eq!(
        ask(1, Vec::new(), &one).await,
        refused(Refusal::Conflict { size: 0 })
    );
    assert_eq!(ask(0, Vec::new(), &one).await.status(), 200);
    // Its memory outlives it.
    running.kill();
    running.restart();
    assert_eq!(
        ask(0, Vec::new(), &one).await,
        refused(Refusal::Conflict { size: 1 })
    );
    assert_eq!(ask(1, Vec::new(), &one).await.status(), 200);
    let other = tiny.note(1, root(9)).await;
    assert_eq!(
        ask(1, Vec::new(), &other).await,
        refused(Refusal::Inconsistent)
    );
    let two = eonpro::audit::merkle::node_hash(&root(1), &root(2));
    let two = tiny.note(2, two).await;
    assert_eq!(
        ask(1, vec![root(3)], &two).await,
        refused(Refusal::Inconsistent)
    );
    assert_eq!(ask(1, vec![root(2)], &two).await.status(), 200);
    assert_eq!(
        ask(1, Vec::new(), &other).await,
        refused(Refusal::Conflict { size: 2 })
    );
    // A state that does not read back is no state of nothing.
    let state = fs::read_dir(running.home.join("state")).unwrap();
    let head = state.map(|entry| entry.unwrap().path());
    let head = head
        .into_iter()
        .find(|path| path.extension().is_some())
        .unwrap();
    fs::write(&head, "").unwrap();
    assert_eq!(ask(0, Vec::new(), &one).await, Answer::Other(500));
}

/// What the witness answers to these bytes.
fn raw(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    // It may answer before everything is sent.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_told_so() {
    let home = tempfile::tempdir().unwrap();
    let tiny = Tiny::new(home.path(), "a");
    let running = Running::start(home.path(), "w1", &format!("log {}", tiny.key));
    let post = |path: &str, body: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: w\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let elsewhere = "old 0\n\nexample.com/log\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        \u{2014} example.com/log AAAAAAAA\n";
    let long = format!("old 0\n{}", "a".repeat(600 * 1024));
    for (request, status) in [
        (post("/add-checkpoint", "nothing"), "400"),
        (post("/add-checkpoint", ""), "400"),
        (post("/add-checkpoint", elsewhere), "404"),
        (post("/add-checkpoint", &long), "400"),
        (post("/elsewhere", "nothing"), "404"),
        (
            "GET /add-checkpoint HTTP/1.1\r\nHost: w\r\n\r\n".to_owned(),
            "405",
        ),
    ] {
        let answer = raw(&running.address, request.as_bytes());
        let told = answer.starts_with(&format!("HTTP/1.1 {status}"));
        assert!(told, "{status}: {answer}");
    }
    // A second process does not share the state.
    let dir = running.home.clone();
    let store = super::store::Store::open(&dir.join("state"), Vec::new());
    assert!(store.is_err());
}

#[test]
fn wrong_arguments_are_told() {
    for (words, told) in [
        (&["--name", "w"][..], "--key is missing"),
        (&["--name"], "--name needs a value"),
        (&["--listen", "x"], "--listen takes an address and a port"),
        (&["x"], "unknown option x"),
    ] {
        let error = Args::parse(words.iter().map(Into::into)).unwrap_err();
        assert_eq!(error, told);
    }
}
