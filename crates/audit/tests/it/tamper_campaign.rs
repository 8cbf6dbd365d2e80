//! Bits flipped and files deleted, cut, swapped and doubled at random, over all files of a log: each is
//! named, and no clean log is accused.
//!
//! `cargo xtask tamper` runs the full count. The seed is fixed and printed.

use std::fs;
use std::path::{Path, PathBuf};

use eonpro_audit::{AuditLog as _, HoldId, HoldScope, LogId, VerifyError, VerifyingKey, verify};
use eonpro_core::component::Component as _;
use eonpro_core::entropy::{Entropy as _, SeededEntropy};
use eonpro_core::phi::Phi;
use eonpro_testkit::tenant_id;

use crate::ages::{Ages, YEAR};
use crate::house::House;

const ROUNDS: &str = "EONPRO_TAMPER_ROUNDS";
/// What a test run without the campaign does.
const SHORT: u64 = 200;
const SEED: u64 = 0x7a_3b_e2;

#[expect(
    clippy::disallowed_methods,
    reason = "how a test run is configured, not a part under test"
)]
fn rounds() -> u64 {
    let rounds = std::env::var(ROUNDS).ok();
    rounds.map_or(SHORT, |text| text.parse().unwrap())
}

struct Dice(SeededEntropy);

impl Dice {
    /// A number below `bound`.
    fn below(&self, bound: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        usize::try_from(u64::from_le_bytes(bytes) % bound as u64).unwrap()
    }
}

/// A closed log of a few segments, opened several times.
async fn written(dice: &Dice) -> House {
    let mut house = House::new();
    house.config.segment_bytes = 8 * 1024;
    house.config.fill_bytes = 2 * 1024;
    for _ in 0..1 + dice.below(3) {
        let audit = house.open().await;
        for _ in 0..1 + dice.below(20) {
            let tenant = 1 + dice.below(3) as u128;
            let events: Vec<_> = (0..1 + dice.below(3)).map(|_| house.viewed()).collect();
            let appended = audit.append_batch(&house.cx(tenant), &events).await;
            appended.unwrap();
        }
        audit.close().await;
    }
    house
}

/// A closed log of which old entries are pruned, others are held, and some are young.
async fn pruned(dice: &Dice) -> Ages {
    let ages = Ages::new();
    let audit = ages.house.open().await;
    for _ in 0..6 {
        ages.views(&audit, 1, 45 + dice.below(30)).await;
    }
    let from = dice.below(200) as u64;
    let scope = HoldScope::Range {
        log: LogId::Tenant(tenant_id(1)),
        from,
        until: from + 1 + dice.below(20) as u64,
    };
    let id = HoldId::random(&*ages.house.entropy);
    let system = ages.house.system();
    let held = audit.hold(&system, id, scope, Phi::from("court"));
    held.await.unwrap();
    ages.time.advance(6 * YEAR);
    ages.new_segment(&audit).await;
    assert!(ages.prune(&audit).await.unwrap().entries > 200);
    ages.views(&audit, 2, 1 + dice.below(20)).await;
    audit.close().await;
    ages
}

/// All files that mean something, with their content. `LOCK` is empty and only held.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("index") {
            // No evidence: nobody who verifies looks at it.
            continue;
        }
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if !path.ends_with("LOCK") {
            let bytes = fs::read(&path).unwrap();
            files.push((path, bytes));
        }
    }
    files.sort();
    files
}

/// The content without the zeros that segments end in.
fn meant(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1)
}

fn accused(dir: &Path, key: &VerifyingKey, what: &str) {
    match verify(dir, std::slice::from_ref(key)) {
        // What looks like the end of a crash is named as well, and is not called verified.
        Err(error @ (VerifyError::Tampered { .. } | VerifyError::Unfinished { .. })) => {
            assert!(error.place().is_some(), "{what}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

fn flip(dice: &Dice, files: &[(PathBuf, Vec<u8>)], dir: &Path, key: &VerifyingKey) {
    let total: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let mut at = dice.below(total);
    let (path, good) = files
        .iter()
        .find(|(_, bytes)| {
            let here = at < bytes.len();
            at -= if here { 0 } else { bytes.len() };
            here
        })
        .unwrap();
    let mut bad = good.clone();
    let bit = dice.below(8);
    bad[at] ^= 1 << bit;
    fs::write(path, bad).unwrap();
    accused(
        dir,
        key,
        &format!("bit {bit} of byte {at} of {}", path.display()),
    );
    fs::write(path, good).unwrap();
}

/// One larger change; `false` if it would have changed nothing.
fn edit(dice: &Dice, files: &[(PathBuf, Vec<u8>)], dir: &Path, key: &VerifyingKey) -> bool {
    let (path, good) = &files[dice.below(files.len())];
    let (other, others) = &files[dice.below(files.len())];
    let end = meant(good);
    let kind = dice.below(6);
    let mut bad = good.clone();
    match kind {
        0 => fs::remove_file(path).unwrap(),
        // Cut, with or without zeros in the place of what was cut.
        1 | 2 => {
            bad.truncate(dice.below(end));
            if kind == 2 {
                bad.resize(good.len(), 0);
            }
        }
        3 => {
            bad.clone_from(others);
            fs::write(other, good).unwrap();
        }
        // A stretch twice, and two stretches in each other's place.
        _ => {
            let length = 8 * (1 + dice.below(40));
            let (from, to) = (dice.below(end), dice.below(end));
            let stretch: Vec<u8> = good.iter().copied().skip(from).take(length).collect();
            if kind == 4 {
                bad.splice(to..to, stretch);
            } else if from + length <= to && to + length <= good.len() {
                bad.copy_within(to..to + length, from);
                bad[to..to + length].copy_from_slice(&stretch);
            }
        }
    }
    let changed = kind == 0 || bad != *good;
    if changed {
        if kind != 0 {
            fs::write(path, &bad).unwrap();
        }
        accused(dir, key, &format!("change {kind} of {}", path.display()));
    }
    fs::write(path, good).unwrap();
    fs::write(other, others).unwrap();
    changed
}

/// Changes one log in as many ways, and counts the larger changes.
fn campaign(house: &House, dice: &Dice, flips: u64, edits: u64) {
    let (dir, key) = (house.log(), house.key());
    verify(&dir, &[key]).unwrap();
    let files = files(&dir);
    for _ in 0..flips {
        flip(dice, &files, &dir, &key);
    }
    let mut edited = 0;
    while edited < edits {
        edited += u64::from(edit(dice, &files, &dir, &key));
    }
    verify(&dir, &[key]).unwrap();
}

#[tokio::test]
async fn every_change_of_a_pruned_log_is_named_as_well() {
    let rounds = rounds().div_ceil(10);
    let dice = Dice(SeededEntropy::new(SEED + 1));
    let logs = rounds.div_ceil(200);
    let (flips, edits) = (rounds.div_ceil(logs), rounds.div_ceil(5 * logs));
    for _ in 0..logs {
        campaign(&pruned(&dice).await.house, &dice, flips, edits);
    }
    let (flips, edits) = (flips * logs, edits * logs);
    println!("{flips} bits flipped and {edits} larger changes in {logs} pruned logs, all named");
}

#[tokio::test]
async fn every_change_of_any_file_is_named_and_no_clean_log_is_accused() {
    let rounds = rounds();
    let dice = Dice(SeededEntropy::new(SEED));
    let (clean, flips, edits) = (rounds.div_ceil(50), rounds, rounds.div_ceil(20));
    let mut edited = 0;
    for log in 0..clean {
        let house = written(&dice).await;
        let (dir, key) = (house.log(), house.key());
        verify(&dir, &[key]).unwrap();
        let files = files(&dir);
        for _ in 0..flips / clean {
            flip(&dice, &files, &dir, &key);
        }
        while edited < edits * (log + 1) / clean {
            edited += u64::from(edit(&dice, &files, &dir, &key));
        }
        verify(&dir, &[key]).unwrap();
    }
    println!(
        "seed {SEED:#x}: {} bits flipped and {edited} larger changes, all named; {clean} clean logs, none accused",
        flips / clean * clean
    );
}
