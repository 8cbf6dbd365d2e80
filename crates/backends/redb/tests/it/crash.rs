//! kill -9 in the middle of commits: what was acknowledged is there, and nothing is there by half.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use eonpro_core::port::kv::{Key, KeyValue as _, Partition, Transaction};
use eonpro_core::task;
use eonpro_core::time::SystemClock;
use eonpro_redb::RedbKeyValue;

const AT: Partition = Partition::system("crash");
const FOLDER: &str = "EONPRO_REDB_CRASH_FOLDER";
const ROUNDS: &str = "EONPRO_CRASH_ROUNDS";
const TASKS: u64 = 4;

#[expect(clippy::disallowed_methods, reason = "the test talks to its child")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn key(name: String) -> Key {
    Key::new(name).unwrap()
}

fn open(folder: &Path) -> RedbKeyValue {
    let clock = Arc::new(SystemClock::new());
    RedbKeyValue::open(&folder.join("state.redb"), clock).unwrap()
}

/// The number behind `name`, or zero.
async fn number(store: &RedbKeyValue, name: String) -> u64 {
    let found = store.get(&AT, &key(name)).await.unwrap();
    found.map_or(0, |found| {
        String::from_utf8_lossy(&found.value).parse().unwrap()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the crash test; does nothing by itself"]
async fn child_commits_until_it_is_killed() {
    let folder = variable(FOLDER).expect("started by the crash test");
    let store = Arc::new(open(Path::new(&folder)));
    let tasks = (0..TASKS).map(|task| {
        let store = Arc::clone(&store);
        task::start(async move {
            let first = number(&store, format!("{task}/last")).await + 1;
            for step in first.. {
                let tx = Transaction::new()
                    .put(key(format!("{task}/a/{step:08}")), vec![7; 200])
                    .put(key(format!("{task}/b/{step:08}")), vec![7; 3_000])
                    .put(key(format!("{task}/last")), step.to_string());
                store.commit(&AT, tx).await.unwrap();
                writeln!(
                    std::io::stdout().lock(),
                    "acknowledged {task} {step} durably"
                )
                .unwrap();
            }
        })
    });
    for running in tasks.collect::<Vec<_>>() {
        running.await.unwrap();
    }
}

/// The task and the step of a line of the child. The test harness may have begun the line.
fn acknowledgement(line: &str) -> Option<(u64, u64)> {
    let (_, numbers) = line.split_once("acknowledged ")?;
    // A line torn by the kill lacks its end.
    let (task, step) = numbers.strip_suffix(" durably")?.split_once(' ')?;
    Some((task.parse().ok()?, step.parse().ok()?))
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::child_commits_until_it_is_killed", "--exact"])
        .args(["--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs the child until it has acknowledged `enough` commits, kills it, and returns the last step
/// that each task had acknowledged.
fn crash(folder: &Path, enough: usize) -> BTreeMap<u64, u64> {
    let mut child = start(folder);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = BTreeMap::new();
    let mut count = 0;
    while count < enough {
        let line = lines.next().expect("the child died by itself").unwrap();
        if let Some((task, step)) = acknowledgement(&line) {
            acknowledged.insert(task, step);
            count += 1;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had still acknowledged before it died counts too.
    let rest = lines.map_while(Result::ok);
    acknowledged.extend(rest.filter_map(|line| acknowledgement(&line)));
    acknowledged
}

#[tokio::test]
async fn acknowledged_commits_survive_kill_9_and_none_is_there_by_half() {
    let rounds = variable(ROUNDS).map_or(5, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    for round in 0..rounds {
        let acknowledged = crash(folder.path(), 1 + round * 37 % 211);
        let store = open(folder.path());
        for task in 0..TASKS {
            let last = number(&store, format!("{task}/last")).await;
            let promised = acknowledged.get(&task).copied().unwrap_or(0);
            assert!(promised <= last, "round {round}: task {task} lost a commit");
            let mut halves = Vec::new();
            for half in ["a", "b"] {
                let prefix = format!("{task}/{half}/");
                halves.push(steps(&store, prefix.as_bytes()).await);
            }
            let all: Vec<u64> = (1..=last).collect();
            assert_eq!(halves, [all.clone(), all], "round {round}: task {task}");
        }
    }
}

fn has_bytes(folder: &Path) -> bool {
    let mut files = std::fs::read_dir(folder).unwrap();
    files.any(|file| file.unwrap().metadata().is_ok_and(|file| file.len() > 0))
}

#[tokio::test]
async fn a_store_whose_creation_was_cut_short_opens_at_the_next_start() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let mut child = start(folder.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The test harness speaks just before the child opens its store.
        lines.find(|line| line.as_ref().unwrap().starts_with("running"));
        // Killed when the first file has grown, which is before redb has signed it.
        while !has_bytes(folder.path()) {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let store = open(folder.path());
        assert!(store.scan(&AT, b"", None, 1).await.is_ok());
    }
}

/// The steps under `prefix`, in order.
async fn steps(store: &RedbKeyValue, prefix: &[u8]) -> Vec<u64> {
    let mut out = Vec::new();
    let mut last: Option<Key> = None;
    loop {
        let page = store.scan(&AT, prefix, last.as_ref(), 1_000).await.unwrap();
        let Some(entry) = page.last() else {
            return out;
        };
        last = Some(entry.key.clone());
        out.extend(page.iter().map(|entry| {
            let step = &entry.key.as_bytes()[prefix.len()..];
            String::from_utf8_lossy(step).parse::<u64>().unwrap()
        }));
    }
}
