//! Witnesses in this process, who decide by the rules of the protocol, remember, and sign.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use eonpro_audit::tlog::{
    AddCheckpoint, Answer, Cosignature, KeyKind, KeyName, KnownLog, Note, Policy, Refusal,
    VerifierKey,
};
use eonpro_audit::{
    AuditError, AuditLog as _, Checkpoint, Keeper, KeyFileSigner, LogId, VerifyingKey, Witness,
    WitnessError, Witnesses, forget_head, verify,
};
use eonpro_core::component::{Component as _, Health};
use eonpro_core::event::Digest;
use eonpro_core::port::Signer as _;
use eonpro_core::time::{ManualClock, Timestamp};
use futures_util::future::{Either, select};

use crate::house::{House, copy};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Honest,
    Down,
    /// It signs something else.
    Lies,
    /// It says that it knows a larger size.
    Ahead,
    Hangs,
}

#[derive(Debug)]
struct LocalWitness {
    signer: KeyFileSigner,
    key: VerifierKey,
    log: VerifierKey,
    last: Mutex<Option<(u64, Digest)>>,
    mood: Mutex<Mood>,
}

impl LocalWitness {
    fn new(house: &House, name: &str) -> Arc<Self> {
        let signer = KeyFileSigner::open_or_create(&house.dir.path().join(name)).unwrap();
        let public = VerifyingKey::from_bytes(signer.public_key());
        let name = KeyName::parse(name).unwrap();
        Arc::new(Self {
            key: VerifierKey::new(name, KeyKind::Cosignature, public),
            signer,
            log: house.key().verifier_key(LogId::Directory),
            last: Mutex::new(None),
            mood: Mutex::new(Mood::Honest),
        })
    }

    fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn size(&self) -> u64 {
        self.last.lock().unwrap().map_or(0, |(size, _)| size)
    }

    fn decide(&self, request: &AddCheckpoint) -> Result<(), Refusal> {
        let mut last = self.last.lock().unwrap();
        let known = KnownLog {
            keys: vec![self.log.clone()],
            last: *last,
        };
        let is_ours = request.head().origin() == self.log.name().as_str();
        request.check(is_ours.then_some(&known))?;
        *last = Some((request.head().size(), *request.head().root()));
        Ok(())
    }
}

#[async_trait]
impl Witness for LocalWitness {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    async fn add_checkpoint(&self, request: &AddCheckpoint) -> Result<Answer, WitnessError> {
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Down => return Err(WitnessError::Unreachable("the test refuses".into())),
            Mood::Hangs => std::future::pending().await,
            Mood::Ahead => {
                let size = request.head().size() + 1;
                return Ok(Answer::Refused(Refusal::Conflict { size }));
            }
            Mood::Honest | Mood::Lies => {}
        }
        if let Err(refusal) = self.decide(request) {
            return Ok(Answer::Refused(refusal));
        }
        let text = request.checkpoint().text();
        let message = Cosignature::message(1_700_000_000, text).unwrap();
        let message = match mood {
            Mood::Lies => message.replace("1700000000", "1700000001"),
            _ => message,
        };
        let signature = self.signer.sign(message.as_bytes()).await.unwrap();
        let made = Cosignature::new(1_700_000_000, signature).unwrap();
        Ok(Answer::Cosigned(vec![self.key.line(&made.to_bytes())]))
    }
}

/// A house with three witnesses, of whom two must cosign.
fn witnessed() -> (House, [Arc<LocalWitness>; 3]) {
    witness(House::new())
}

fn witness(mut house: House) -> (House, [Arc<LocalWitness>; 3]) {
    let three = ["w1", "w2", "w3"].map(|name| LocalWitness::new(&house, name));
    let asked = three.iter().map(|one| Arc::clone(one) as Arc<dyn Witness>);
    let witnesses = Witnesses::new(policy(&house, &three), asked.collect()).unwrap();
    house.config.witnesses = Some(witnesses);
    (house, three)
}

fn policy(house: &House, three: &[Arc<LocalWitness>]) -> Policy {
    let mut text = format!("log {}\n", house.key().vkey(&LogId::Directory));
    for one in three {
        text += &format!("witness {} {}\n", one.key.name(), one.key);
    }
    text += "group all 2 w1 w2 w3\nquorum all\n";
    Policy::parse(text.as_bytes()).unwrap()
}

fn published(house: &House) -> Note {
    let text = fs::read_to_string(house.log().join("checkpoint")).unwrap();
    Note::parse(&text).unwrap()
}

/// Who cosigned what is published.
fn cosigners(house: &House, three: &[Arc<LocalWitness>]) -> Vec<String> {
    let keys: Vec<VerifierKey> = three.iter().map(|one| one.key.clone()).collect();
    let note = published(house);
    let verified = note.verify(&keys).unwrap_or_default();
    let mut names: Vec<String> = verified
        .iter()
        .map(|one| one.key.name().to_string())
        .collect();
    names.sort_unstable();
    names
}

async fn append(house: &House, entries: usize) {
    let audit = house.open().await;
    for _ in 0..entries {
        audit.append(&house.cx(1), &house.viewed()).await.unwrap();
        audit.checkpoint().await.unwrap();
    }
    audit.close().await;
}

async fn codes(house: &House, audit: &eonpro_audit::EmbeddedAudit) -> Vec<String> {
    let views = audit.read(&house.system(), &LogId::System, 0..99).await;
    let views = views.unwrap();
    views
        .iter()
        .map(|view| view.entry().unwrap().code)
        .collect()
}

#[tokio::test]
async fn a_head_carries_the_lines_of_a_quorum_and_the_log_says_so() {
    let (house, three) = witnessed();
    three[1].be(Mood::Down);
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.checkpoint().await.unwrap();
    assert_eq!(cosigners(&house, &three), ["w1", "w3"]);
    let trusted = policy(&house, &three);
    trusted.verify(&published(&house)).unwrap();
    assert!(codes(&house, &audit).await.contains(&"AUD-007".to_owned()));
    assert_eq!(audit.health().await, Health::Healthy);
    audit.close().await;
    assert_eq!(cosigners(&house, &three), ["w1", "w3"]);
    assert_eq!(verify(&house.log(), &[house.key()]).unwrap().unsigned, 0);
}

#[tokio::test]
async fn a_witness_that_was_away_follows_by_a_proof_from_what_it_knew() {
    let (house, three) = witnessed();
    append(&house, 3).await;
    three[1].be(Mood::Down);
    append(&house, 7).await;
    let behind = three[1].size();
    three[1].be(Mood::Honest);
    append(&house, 1).await;
    assert_eq!(cosigners(&house, &three), ["w1", "w2", "w3"]);
    assert!(three[1].size() > behind + 7);
    assert_eq!(three[1].size(), three[0].size());
}

#[tokio::test]
async fn a_backup_put_back_with_its_store_is_found_out_by_one_witness() {
    for only in 0..3 {
        let (house, three) = witnessed();
        append(&house, 1).await;
        let old = house.dir.path().join("old");
        copy(&house.log(), &old);
        append(&house, 1).await;
        fs::remove_dir_all(house.log()).unwrap();
        copy(&old, &house.log());
        forget_head(&*house.state).await.unwrap();

        for (at, one) in three.iter().enumerate() {
            one.be(if at == only { Mood::Honest } else { Mood::Down });
        }
        let refused = house.try_open().await.unwrap_err();
        let AuditError::RolledBack(conflict) = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!(conflict.keeper, Keeper::Witness(format!("w{}", only + 1)));
        assert_eq!(conflict.kept_size, three[only].size());
        assert_eq!(house.alerts.codes(), ["AUD-008"]);
        // And a directory that begins afresh.
        fs::remove_dir_all(house.log()).unwrap();
        forget_head(&*house.state).await.unwrap();
        let refused = house.try_open().await.unwrap_err();
        assert!(matches!(refused, AuditError::RolledBack(_)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_log_rewritten_with_key_and_store_is_a_fork_to_its_witnesses() {
    let (mut house, three) = witnessed();
    append(&house, 2).await;
    let witnesses = house.config.witnesses.take();
    fs::remove_dir_all(house.log()).unwrap();
    forget_head(&*house.state).await.unwrap();
    while three[0].size() > Checkpoint::open(&head(&house), &[house.key()]).map_or(0, |p| p.size) {
        append(&house, 1).await;
    }
    house.config.witnesses = witnesses;
    let refused = house.try_open().await.unwrap_err();
    assert!(matches!(refused, AuditError::Fork(_)), "{refused:?}");
}

fn head(house: &House) -> String {
    fs::read_to_string(house.log().join("checkpoint")).unwrap_or_default()
}

#[tokio::test]
async fn a_witness_that_is_ahead_stops_the_signing_and_not_the_appends() {
    let (house, three) = witnessed();
    let audit = house.open().await;
    three[2].be(Mood::Ahead);
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    let refused = audit.checkpoint().await.unwrap_err();
    assert!(matches!(refused, AuditError::RolledBack(_)), "{refused:?}");
    assert!(matches!(audit.health().await, Health::Unhealthy(_)));
    let before = head(&house);
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    assert!(audit.checkpoint().await.is_err());
    assert_eq!(head(&house), before);
    let told = codes(&house, &audit).await;
    assert_eq!(told.iter().filter(|code| *code == "AUD-008").count(), 1);
    audit.close().await;
    assert_eq!(house.alerts.codes(), ["AUD-008"]);
}

#[tokio::test]
async fn a_line_that_a_witness_did_not_sign_counts_for_nothing() {
    let (house, three) = witnessed();
    three[0].be(Mood::Lies);
    append(&house, 1).await;
    assert_eq!(cosigners(&house, &three), ["w2", "w3"]);
    assert_eq!(published(&house).signatures().len(), 3);
    three[1].be(Mood::Down);
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.checkpoint().await.unwrap();
    assert_eq!(cosigners(&house, &three), ["w3"]);
    let believed = policy(&house, &three).verify(&published(&house)).is_ok();
    assert!(!believed);
}

#[tokio::test]
async fn without_a_quorum_the_log_goes_on_and_after_a_while_people_hear_of_it() {
    let clock = ManualClock::at(Timestamp::from_seconds(1_800_000_000));
    let mut house = House::new();
    house.clock = Arc::new(clock.clone());
    let (mut house, three) = witness(house);
    let witnesses = house.config.witnesses.take().unwrap();
    // So that nothing but the calls below asks.
    let witnesses = witnesses.retry_after(Duration::from_secs(1 << 30));
    house.config.witnesses = Some(witnesses.overdue_after(Duration::from_secs(60)));
    three[0].be(Mood::Down);
    three[1].be(Mood::Down);
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.checkpoint().await.unwrap();
    clock.advance(Duration::from_secs(59));
    audit.checkpoint().await.unwrap();
    assert_eq!(audit.health().await, Health::Healthy);
    clock.advance(Duration::from_secs(1));
    audit.checkpoint().await.unwrap();
    assert!(matches!(audit.health().await, Health::Degraded(_)));
    audit.checkpoint().await.unwrap();

    three[0].be(Mood::Honest);
    audit.checkpoint().await.unwrap();
    assert_eq!(audit.health().await, Health::Healthy);
    audit.close().await;
    let alerts = house.alerts.alerts();
    let rules: Vec<&str> = alerts.iter().map(|alert| alert.rule.as_str()).collect();
    assert_eq!(rules, ["audit.witness.overdue"]);
}

#[tokio::test]
async fn a_missing_quorum_is_asked_for_again() {
    let clock = ManualClock::at(Timestamp::from_seconds(1_800_000_000));
    let mut house = House::new();
    house.clock = Arc::new(clock.clone());
    let (house, three) = witness(house);
    three.iter().for_each(|one| one.be(Mood::Down));
    let audit = house.open().await;
    assert!(cosigners(&house, &three).is_empty());
    three.iter().for_each(|one| one.be(Mood::Honest));
    while cosigners(&house, &three).len() < 3 {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    audit.close().await;
}

#[tokio::test]
async fn a_witness_that_hangs_holds_up_no_append_and_a_head_only_for_a_time() {
    let clock = ManualClock::at(Timestamp::from_seconds(1_800_000_000));
    let mut house = House::new();
    house.clock = Arc::new(clock.clone());
    let (house, three) = witness(house);
    let audit = house.open().await;
    three[1].be(Mood::Hangs);
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    let appending = async {
        for _ in 0..20 {
            audit.append(&house.cx(1), &house.viewed()).await.unwrap();
        }
    };
    let rest = match select(Box::pin(audit.checkpoint()), Box::pin(appending)).await {
        Either::Right(((), rest)) => rest,
        Either::Left((head, _)) => panic!("signed before the witness had its time: {head:?}"),
    };
    let passing = async {
        loop {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    };
    match select(rest, Box::pin(passing)).await {
        Either::Left((head, _)) => head.unwrap(),
        Either::Right(((), _)) => panic!("time passes for ever"),
    };
    assert_eq!(cosigners(&house, &three), ["w1", "w3"]);
}

#[test]
fn witnesses_are_those_of_the_policy_and_each_is_there_once() {
    let (house, three) = witnessed();
    let policy = policy(&house, &three);
    let stranger = LocalWitness::new(&house, "w4");
    for wrong in [
        vec![stranger as Arc<dyn Witness>],
        vec![three[0].clone() as Arc<dyn Witness>, three[0].clone()],
    ] {
        let refused = Witnesses::new(policy.clone(), wrong);
        assert!(matches!(refused, Err(AuditError::Config(_))));
    }
}
