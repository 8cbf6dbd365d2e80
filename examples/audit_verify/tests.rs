//! The exit codes, on the log of a real foundation.

use std::fs;
use std::path::{Path, PathBuf};

use eonpro::Foundation;
use eonpro::audit::{LogId, claimed_keys, prove, publish};

use super::*;

/// Opens the foundation in `dir` and closes it: entries of its beginning and its end are logged. Returns
/// the log's directory and its key.
async fn written(dir: &Path) -> (PathBuf, String) {
    let foundation = Foundation::embedded(dir).build().await.unwrap();
    let key = foundation.audit_key().vkey(&LogId::Directory);
    foundation.shutdown().await;
    (dir.join("audit"), key)
}

fn found(words: &[&str]) -> Finding {
    run(&Args::parse(words.iter().map(Into::into)).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn each_code_means_what_the_page_says() {
    let home = tempfile::tempdir().unwrap();
    let (log, key) = written(&home.path().join("data")).await;
    let kept = home.path().join("kept");
    fs::copy(log.join("checkpoint"), &kept).unwrap();
    let (dir, anchor) = (text(&log), text(&kept));

    let bare = found(&[dir]);
    assert_eq!(bare.code, 3, "{bare:?}");
    assert!(
        bare.text
            .contains("not anchored: eonpro/audit/system#0 to ")
    );
    let anchored = found(&[dir, "--anchor", anchor, "--key", &key]);
    assert_eq!(anchored.code, 0, "{anchored:?}");
    assert!(!anchored.text.contains("not anchored"), "{anchored:?}");

    // More entries since: the anchor still holds, and the rest is named.
    written(&home.path().join("data")).await;
    let later = found(&[dir, "--anchor", anchor]);
    assert_eq!(later.code, 0, "{later:?}");
    assert!(later.text.contains("not anchored: eonpro/audit/system#"));

    let segment = log.join("wal/0000000001.wal");
    let clean = fs::read(&segment).unwrap();
    let mut bad = clean.clone();
    bad[300] ^= 1;
    fs::write(&segment, bad).unwrap();
    let tampered = found(&[dir, "--anchor", anchor]);
    assert_eq!(tampered.code, 1, "{tampered:?}");
    assert!(tampered.text.starts_with("tampered: "), "{tampered:?}");
    fs::write(&segment, clean).unwrap();

    for unreadable in [
        vec![anchor],
        vec![dir, "--anchor", dir],
        vec![dir, "--anchor", "/nowhere"],
    ] {
        assert_eq!(found(&unreadable).code, 2, "{unreadable:?}");
    }
}

#[tokio::test]
async fn a_log_rewritten_whole_is_caught_by_one_anchor_and_by_nothing_without() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let (log, _) = written(&data).await;
    let kept = home.path().join("kept");
    fs::copy(log.join("checkpoint"), &kept).unwrap();
    let anchor = ["--anchor", text(&kept)];

    // With the real key, and under a key of the forger's own; and with a state that knows of nothing.
    for forget_key in [false, true] {
        let forged = home.path().join(format!("forged-{forget_key}"));
        if !forget_key {
            fs::create_dir_all(forged.join("keys")).unwrap();
            let key = "keys/audit.key";
            fs::copy(data.join(key), forged.join(key)).unwrap();
        }
        let (log, _) = written(&forged).await;
        let dir = text(&log);
        assert_eq!(found(&[dir]).code, 3);
        let caught = found(&[dir, anchor[0], anchor[1]]);
        assert_eq!(caught.code, 1, "{caught:?}");
    }
}

#[tokio::test]
async fn a_proof_of_one_entry_holds_without_the_log_and_for_that_entry_only() {
    let home = tempfile::tempdir().unwrap();
    let (log, key) = written(&home.path().join("data")).await;
    let public = home.path().join("public");
    let keys = claimed_keys(&log).unwrap();
    publish(&log, &keys, &public).unwrap();
    let proof = prove(&public, &keys, LogId::System, 0).unwrap();
    fs::remove_dir_all(home.path().join("data")).unwrap();
    let file = home.path().join("first.tlog-proof");
    fs::write(&file, proof.to_string()).unwrap();
    let words = ["--proof", text(&file), "--key", &key];
    let holds = found(&words);
    assert_eq!(holds.code, 0, "{holds:?}");
    assert!(holds.text.contains("eonpro/audit/system#0"), "{holds:?}");
    assert!(holds.text.contains("\"code\":\"AUD-001\""), "{holds:?}");

    let entry = String::from_utf8(proof.extra().to_vec()).unwrap();
    let forged = entry.replace("AUD-001", "AUD-002").into_bytes();
    let forged = proof.with_extra(forged).unwrap();
    fs::write(&file, forged.to_string()).unwrap();
    assert_eq!(found(&words).code, 1);
    fs::write(&file, "nothing").unwrap();
    assert_eq!(found(&words).code, 2);
}

#[tokio::test]
async fn a_policy_believes_no_anchor_that_its_witnesses_did_not_cosign() {
    let home = tempfile::tempdir().unwrap();
    let (log, _) = written(&home.path().join("data")).await;
    let (kept, rules) = (home.path().join("kept"), home.path().join("policy"));
    let witness = "w+790f262a+BA7wZRoVJP8EnHWj9Og9GvhEkCw2wEVMFtdPKdGfgTc0";
    fs::copy(log.join("checkpoint"), &kept).unwrap();
    let words = [
        text(&log),
        "--anchor",
        text(&kept),
        "--policy",
        text(&rules),
    ];
    for (policy, code) in [
        (format!("witness w {witness}\nquorum w\n"), 1),
        ("quorum none\n".to_owned(), 0),
        ("nonsense\n".to_owned(), 2),
    ] {
        fs::write(&rules, policy).unwrap();
        let found = found(&words);
        assert_eq!(found.code, code, "{found:?}");
    }
}

#[test]
fn a_disclosed_field_is_printed_if_its_entry_commits_to_it() {
    const FILE: &str = include_str!("data/field.disclosure");
    const KEY: &str =
        "eonpro/audit/directory+782447dd+ARNTWx84RPIRdC6+UP46bnS+l8y4758faVyHUdUhGKoO";
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("field.disclosure");
    let words = ["--proof", text(&file), "--key", KEY];
    fs::write(&file, FILE).unwrap();
    let holds = found(&words);
    assert_eq!(holds.code, 0, "{holds:?}");
    let field = "description: to Dr. Babbage, 5 Devonshire Street\n";
    assert!(holds.text.ends_with(field), "{holds:?}");

    for (from, to, code) in [
        ("field description", "field recipient_name", 1),
        ("value dG8", "value dG9", 1),
        ("index 1\n", "index 0\n", 1),
        ("salt 8", "salt", 2),
    ] {
        assert!(FILE.contains(from));
        fs::write(&file, FILE.replacen(from, to, 1)).unwrap();
        assert_eq!(found(&words).code, code, "{from}");
    }
}

#[test]
fn wrong_arguments_are_told() {
    for (words, told) in [
        (&[][..], "no directory"),
        (&["a", "b"], "more than one thing to verify"),
        (&["--proof", "a"], "--proof needs a --key"),
        (&["a", "--anchor"], "--anchor needs a value"),
        (&["a", "--key", "x"], "--key takes name+id+base64"),
        (&["a", "--policy", "b"], "--policy needs an --anchor"),
        (&["a", "--help"], "unknown option --help"),
    ] {
        let error = Args::parse(words.iter().map(Into::into)).unwrap_err();
        assert_eq!(error, told);
    }
}
