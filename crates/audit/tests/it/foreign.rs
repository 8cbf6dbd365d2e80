//! A stranger verifies: a program in Python that was written from the format's page alone.
//!
//! Where its interpreter is missing, the test ends early and says so, unless it is required.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use eonpro_audit::{AuditLog as _, LogId, publish};
use eonpro_core::component::Component as _;
use eonpro_testkit::servers::{require, tool};
use eonpro_testkit::tenant_id;

use crate::ages::{Ages, YEAR};
use crate::house::House;

const ENTRIES: usize = 100_000;
const BATCH: usize = 4_000;

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/foreign-verifier/verify.py")
}

/// An interpreter that can verify signatures.
fn python() -> Option<PathBuf> {
    let able = |python: &PathBuf| {
        let mut probe = Command::new(python);
        let output = probe.args(["-c", "import cryptography"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = tool("python").filter(able);
    require(found, "cryptography", "python3-cryptography")
}

fn judge(python: &Path, published: &Path, key: &str) -> Output {
    Command::new(python)
        .arg(script())
        .arg(published)
        .args(["--key", key])
        .output()
        .unwrap()
}

#[tokio::test]
async fn a_stranger_verifies_a_hundred_thousand_entries_and_names_what_was_changed() {
    let Some(python) = python() else { return };
    let house = House::new();
    let audit = house.open().await;
    for number in 0..ENTRIES / BATCH {
        let events: Vec<_> = (0..BATCH).map(|_| house.viewed()).collect();
        let tenant = 1 + number as u128 % 2;
        let appended = audit.append_batch(&house.cx(tenant), &events).await;
        appended.unwrap();
    }
    audit.close().await;
    let published = house.dir.path().join("published");
    publish(&house.log(), &[house.key()], &published).unwrap();
    let key = house.key().vkey(&LogId::Directory);

    let output = judge(&python, &published, &key);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let entries = format!("{}", ENTRIES / 2 / BATCH * BATCH);
    assert!(told.contains(&entries), "{told}");

    // Another key, and one bit of each kind of file.
    let stranger = House::new().key().vkey(&LogId::Directory);
    let output = judge(&python, &published, &stranger);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let tenant = format!("eonpro/audit/{}", tenant_id(1));
    for name in [
        "eonpro/audit/directory/checkpoint",
        &format!("{tenant}/checkpoint"),
        &format!("{tenant}/tile/0/017"),
        &format!("{tenant}/tile/1/000.p/203"),
        &format!("{tenant}/tile/entries/100"),
    ] {
        let path = published.join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        fs::write(&path, bad).unwrap();
        let output = judge(&python, &published, &key);
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(told.contains(name), "{name}: {told}");
        fs::write(&path, good).unwrap();
    }
}

#[tokio::test]
async fn a_stranger_verifies_a_pruned_log_and_misses_what_no_entry_of_it_accounts_for() {
    let Some(python) = python() else { return };
    let ages = Ages::new();
    let house = &ages.house;
    let audit = house.open().await;
    for _ in 0..12 {
        ages.views(&audit, 1, 50).await;
    }
    ages.time.advance(6 * YEAR);
    ages.views(&audit, 1, 600).await;
    ages.new_segment(&audit).await;
    ages.prune(&audit).await.unwrap();
    audit.close().await;
    let published = house.dir.path().join("published");
    publish(&house.log(), &[house.key()], &published).unwrap();
    let key = house.key().vkey(&LogId::Directory);
    let output = judge(&python, &published, &key);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // 600 are pruned: with them go the bundles that they stand in.
    assert!(told.contains("768 no longer published"), "{told}");

    let tenant = format!("eonpro/audit/{}", tenant_id(1));
    for name in [
        // Whole, and not below what was pruned.
        format!("{tenant}/tile/entries/003"),
        // The end of a log is never pruned, nor are hashes.
        format!("{tenant}/tile/0/000"),
        format!("eonpro/audit/{}/tile/entries/000.p/20", tenant_id(3)),
    ] {
        let path = published.join(&name);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let output = judge(&python, &published, &key);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
        assert!(
            told.contains(&name) && told.contains("missing"),
            "{name}: {told}"
        );
        fs::write(&path, good).unwrap();
    }
    // The hash of a pruned entry is as good as any other.
    let path = published.join(format!("{tenant}/tile/0/001"));
    let mut bad = fs::read(&path).unwrap();
    bad[40] ^= 1;
    fs::write(&path, bad).unwrap();
    let output = judge(&python, &published, &key);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
