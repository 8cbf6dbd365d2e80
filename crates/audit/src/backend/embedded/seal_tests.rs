//! A log that does not verify is given up whole, and its successor says so first.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use eonpro_core::event::Code;
use eonpro_core::id::ActorId;
use eonpro_testkit::tenant_id;

use super::machine::{Machine, Stable, Trouble};
use super::tests::Bed;
use super::*;
use crate::fault::{Fault, Place, VerifyError};
use crate::spool;
use crate::verify::verify;

const SEGMENT: &str = "wal/0000000001.wal";

fn order() -> SealOrder {
    SealOrder {
        by: ActorId::new("operator-7").unwrap(),
        reason: Code::constant("disk_failure"),
    }
}

impl Bed {
    async fn seal(&self) -> Result<EmbeddedAudit, AuditError> {
        let parts = self.parts(self.dir.path());
        EmbeddedAudit::seal_and_continue(&self.log(), parts, self.config.clone(), order()).await
    }

    fn check(&self) -> Result<Report, VerifyError> {
        let key = self.parts(self.dir.path()).verifying_key();
        verify(&self.log(), &[key])
    }

    fn system(&self) -> RequestContext {
        let entropy = eonpro_core::entropy::SystemEntropy::new();
        RequestContext::system("test", &*self.clock, &entropy)
    }
}

/// All files below `dir` by their names there.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let below = files(&path).into_iter();
            found.extend(below.map(|(inside, bytes)| (format!("{name}/{inside}"), bytes)));
        } else {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A closed log with some entries, of which one is damaged, and its files then.
async fn damaged(bed: &Bed) -> BTreeMap<String, Vec<u8>> {
    let audit = bed.open().await;
    for _ in 0..3 {
        audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
    }
    audit.close().await;
    flip(&bed.log().join(SEGMENT), 1_500);
    let mut files = files(&bed.log());
    files.remove("LOCK");
    files.retain(|name, _| !name.starts_with("sealed"));
    files
}

#[tokio::test]
async fn a_sealed_log_is_kept_as_it_is_and_its_successor_names_it_first() {
    let bed = Bed::new();
    let (mut follows, mut sizes) = (None, Vec::new());
    for number in 1..4_u64 {
        let before = damaged(&bed).await;
        assert!(matches!(
            bed.try_open().await,
            Err(AuditError::Corrupt(VerifyError::Tampered { .. }))
        ));
        let audit = bed.seal().await.unwrap();
        let views = audit.read(&bed.system(), &LogId::System, 0..9).await;
        let views = views.unwrap();
        let entry = |index: usize| views[index].entry().unwrap();
        let mut codes: Vec<String> = (0..views.len()).map(|at| entry(at).code).collect();
        // The alerts are on record as well, whenever they were delivered.
        codes.retain(|code| code != "SEC-001");
        assert_eq!(codes, ["AUD-006", "AUD-002", "AUD-001"]);
        let by = serde_json::to_string(&entry(1).fields).unwrap();
        assert!(
            by.contains("operator-7") && by.contains("disk_failure"),
            "{by}"
        );
        audit.close().await;

        let mut kept = files(&bed.log().join(format!("sealed/{number}")));
        let statement = String::from_utf8(kept.remove("statement").unwrap()).unwrap();
        assert_eq!(kept, before);
        assert!(statement.contains(SEGMENT), "{statement}");
        assert!(!bed.log().join("sealing").exists());
        let report = bed.check().unwrap();
        assert_eq!(report.sealed.len() as u64, number);
        let newest = report.sealed.last().unwrap();
        assert_eq!(report.follows, Some(newest.digest));
        assert_ne!(report.follows, follows);
        let fields = serde_json::to_value(&entry(0).fields).unwrap();
        assert_eq!(fields["found"], newest.digest.to_string());
        let head = newest.head.unwrap();
        assert_eq!(fields["index"], head.size);
        assert_eq!(fields["expected"], head.root.to_string());
        follows = report.follows;
        sizes.push(head.size);
        bed.open().await.close().await;
    }
    assert!(sizes.iter().all(|size| *size > 0));
    assert!(bed.alerts.codes().contains(&"AUD-006"));
}

#[tokio::test]
async fn a_sound_log_is_not_sealed() {
    let bed = Bed::new();
    assert!(matches!(
        bed.seal().await,
        Err(AuditError::Corrupt(VerifyError::NoLog))
    ));
    let audit = bed.open().await;
    assert!(matches!(bed.seal().await, Err(AuditError::Locked)));
    audit.close().await;
    assert!(matches!(bed.seal().await, Err(AuditError::Sound)));
    // Nor one that a plain opening recovers.
    bed.plan.dead.store(true, Ordering::SeqCst);
    bed.plan.dead.store(false, Ordering::SeqCst);
    let segment = bed.log().join(SEGMENT);
    let mut bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let end = end.next_multiple_of(8);
    bytes[end..end + 9].copy_from_slice(b"unfinishe");
    fs::write(&segment, bytes).unwrap();
    assert!(matches!(bed.check(), Err(VerifyError::Unfinished { .. })));
    assert!(matches!(bed.seal().await, Err(AuditError::Sound)));
    assert!(!bed.log().join("sealed").exists());
    bed.open().await.close().await;
}

#[tokio::test]
async fn what_was_spooled_goes_on_with_the_successor_also_out_of_a_damaged_spool() {
    for damage_spool in [false, true] {
        let bed = Bed::new();
        let audit = bed.open().await;
        bed.plan.dead.store(true, Ordering::SeqCst);
        let events = [bed.logout(), bed.logout(), bed.logout()];
        for event in &events {
            audit.emit(&bed.cx(), event).await.unwrap();
        }
        bed.plan.dead.store(false, Ordering::SeqCst);
        audit.close().await;
        let (spool_file, before) = (bed.log().join("spool"), files(&bed.log()));
        if damage_spool {
            // The second of three.
            let length = before["spool"].len();
            flip(&spool_file, length / 2);
        } else {
            flip(&bed.log().join(SEGMENT), 300);
        }
        let damaged = fs::read(&spool_file).unwrap();
        assert!(bed.try_open().await.is_err());
        let audit = bed.seal().await.unwrap();
        let log = LogId::Tenant(tenant_id(1));
        let views = audit.read(&bed.system(), &log, 0..9).await.unwrap();
        let ids: Vec<String> = views.iter().map(|view| view.entry().unwrap().id).collect();
        let kept = |at: &usize| !damage_spool || *at != 1;
        let expected = (0..3).filter(kept).map(|at| events[at].id().to_string());
        assert_eq!(ids, expected.collect::<Vec<_>>());
        audit.close().await;
        let sealed = bed.log().join("sealed/1/spool");
        assert_eq!(sealed.exists(), damage_spool);
        if damage_spool {
            assert_eq!(fs::read(sealed).unwrap(), damaged);
        }
        assert_eq!(bed.check().unwrap().spooled, 0);
        assert!(!spool_file.exists());
    }
}

#[tokio::test]
async fn a_sealed_log_that_was_changed_is_named_and_one_that_was_taken_away_is_missed() {
    let bed = Bed::new();
    damaged(&bed).await;
    bed.seal().await.unwrap().close().await;
    let dir = bed.log().join("sealed");
    for name in [
        "1/checkpoint",
        "1/keys",
        "1/statement",
        "1/wal/0000000001.wal",
    ] {
        let good = fs::read(dir.join(name)).unwrap();
        flip(&dir.join(name), 7);
        let found = bed.check().unwrap_err();
        assert_eq!(found.place(), Some(&Place::file("sealed/1", 0)), "{name}");
        fs::remove_file(dir.join(name)).unwrap();
        assert!(bed.check().is_err(), "{name}");
        fs::write(dir.join(name), good).unwrap();
    }
    fs::write(dir.join("1/more"), b"").unwrap();
    assert!(bed.check().is_err());
    fs::remove_file(dir.join("1/more")).unwrap();
    bed.check().unwrap();
    // Damage there is no reason to give up the successor, which opens.
    flip(&dir.join("1/keys"), 7);
    assert!(matches!(bed.seal().await, Err(AuditError::Sound)));
    bed.open().await.close().await;
    // It may be archived elsewhere, but not be forgotten.
    fs::rename(&dir, bed.dir.path().join("archive")).unwrap();
    let report = bed.check().unwrap();
    assert!(report.follows.is_some() && report.sealed.is_empty());
    let path = bed.log().join(SEGMENT);
    let mut bytes = fs::read(&path).unwrap();
    let mut header = crate::segment::Header::parse(&bytes[..128]).unwrap();
    header.follows = None;
    bytes[..128].copy_from_slice(&header.encode());
    fs::write(&path, bytes).unwrap();
    assert!(matches!(
        bed.check(),
        Err(VerifyError::Tampered {
            fault: Fault::Sealed,
            ..
        })
    ));
}

/// A machine with a damaged log and two spooled entries; the bytes of the log.
async fn damaged_machine(bed: &Bed, folder: &Path) -> (Stable, BTreeMap<String, Vec<u8>>) {
    let machine = Machine::boot(folder, Stable::default(), 1);
    let layout = Layout::through(&folder.join("audit"), Arc::new(machine.clone()));
    let parts = bed.parts(bed.dir.path());
    let opened = opening::open(layout.clone(), parts, bed.config.clone()).await;
    let audit = EmbeddedAudit(opened.unwrap());
    for _ in 0..3 {
        audit.append(&bed.cx(), &bed.viewed()).await.unwrap();
    }
    audit.close().await;
    let mut opened = spool::Spool::open(&layout, 9).unwrap();
    for number in [1, 2] {
        let id = format!("0190a1b2-0000-7000-8000-0000000000{number:02x}");
        let tail = spooled(bed, &id);
        opened.add(LogId::System, &tail).unwrap();
    }
    let mut stable = machine.cut();
    stable.flip(&Path::new("audit").join(SEGMENT), 1_500);
    let mut bytes = stable.below(Path::new("audit"));
    bytes.remove("spool");
    (stable, bytes)
}

fn spooled(bed: &Bed, id: &str) -> Vec<u8> {
    let event = bed.logout();
    let json = serde_json::json!({
        "id": id, "code": "SYS-002", "name": "n", "occurred": event.occurred().to_string(), "outcome": 0,
        "actor": {"kind": "system", "id": "audit", "roles": []}, "aal": 0,
        "request": id, "trace": "0".repeat(32), "fields": {},
    });
    let text = json.to_string();
    text.as_bytes()[1..].to_vec()
}

#[tokio::test]
async fn sealing_that_is_cut_short_anywhere_is_taken_up_and_loses_nothing() {
    let bed = Bed::new();
    let mut cuts = 0;
    let calm = Trouble {
        cut_at: u64::MAX,
        fails_one_in: 0,
    };
    for cut_at in 1..400 {
        for power in [false, true] {
            let base = bed.dir.path().join(format!("{cut_at}-{power}"));
            let (stable, bytes) = damaged_machine(&bed, &base.join("0")).await;
            let mut folder = base.join("1");
            let mut machine = Machine::boot(&folder, stable, cut_at);
            machine.expect(Trouble {
                cut_at,
                fails_one_in: 0,
            });
            let seal = async |machine: &Machine, folder: &Path| loop {
                let layout = Layout::through(&folder.join("audit"), Arc::new(machine.clone()));
                let (parts, config) = (bed.parts(bed.dir.path()), bed.config.clone());
                let sealed = sealing::seal_and_continue(layout, parts, config, order()).await;
                match sealed {
                    Err(AuditError::Locked) => tokio::task::yield_now().await,
                    other => return other.map(EmbeddedAudit),
                }
            };
            let first = seal(&machine, &folder).await;
            let finished = first.is_ok();
            if let Ok(audit) = first {
                audit.close().await;
            }
            let quiet = finished && !machine.troubled();
            if !quiet {
                cuts += 1;
                if power {
                    folder = base.join("2");
                    let stable = machine.cut();
                    machine = Machine::boot(&folder, stable, 3);
                }
                machine.expect(calm);
                match seal(&machine, &folder).await {
                    Ok(audit) => audit.close().await,
                    // The first call had come to its end.
                    Err(AuditError::Sound) => {}
                    Err(error) => panic!("cut at {cut_at}, power {power}: {error:?}"),
                }
            }
            machine.expect(calm);
            let log = folder.join("audit");
            let mut kept = files(&log.join("sealed/1"));
            kept.remove("statement").unwrap();
            assert!(kept == bytes, "cut at {cut_at}, power {power}");
            let layout = Layout::through(&log, Arc::new(machine.clone()));
            let parts = bed.parts(bed.dir.path());
            let opened = opening::open(layout, parts, bed.config.clone()).await;
            let audit = EmbeddedAudit(opened.unwrap());
            let views = audit.read(&bed.system(), &LogId::System, 0..99).await;
            let entries = views.unwrap().into_iter();
            let entries: Vec<_> = entries.map(|view| view.entry().unwrap()).collect();
            assert_eq!(
                [&*entries[0].code, &*entries[1].code],
                ["AUD-006", "AUD-002"]
            );
            let again = entries.iter().filter(|entry| entry.code == "AUD-002");
            assert_eq!(again.count(), 1);
            let folded = entries.iter().filter(|entry| entry.code == "SYS-002");
            assert_eq!(folded.count(), 2, "cut at {cut_at}, power {power}");
            audit.close().await;
            let key = bed.parts(bed.dir.path()).verifying_key();
            assert_eq!(verify(&log, &[key]).unwrap().sealed.len(), 1);
            fs::remove_dir_all(&base).unwrap();
            if quiet {
                assert!(cuts > 60, "{cuts}");
                return;
            }
        }
    }
}
