//! Other processes hear of what is destroyed, long before their leases end: the clock stands still.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use eonpro_core::component::{Component, Health, Posture};
use eonpro_core::port::kv::{
    Change, Entry, Key, KeyValue, KvCapabilities, KvError, MemoryKeyValue, Partition, Transaction,
    Version, Versioned,
};
use eonpro_core::port::{KeyPurpose, SealError, SealScope, Sealer as _};
use eonpro_core::{TenantScope, task};
use eonpro_encryption::{
    CryptoError, Encryption as _, KeyState, ShredTarget, Shredding as _, Subjects as _,
    TenantCipher, Vault,
};
use eonpro_redb::RedbKeyValue;
use eonpro_testkit::scope;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::support::{CountingRoot, House, RECORDS, cell, chore, open};
use crate::wards::{Ward, patient, person};

fn listen(vault: &Vault) -> JoinHandle<Result<(), CryptoError>> {
    let vault = vault.clone();
    task::start(async move { vault.watch_shreds().await })
}

/// Lets all tasks run until `holds`.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        task::blocking(|| {}).await.unwrap();
    }
    panic!("not in time: {what}");
}

/// Lets all tasks run until nothing moves any more.
async fn settle() {
    for _ in 0..200 {
        task::blocking(|| {}).await.unwrap();
    }
}

fn approval() -> eonpro_encryption::ShredApproval {
    eonpro_encryption::ShredApproval {
        approver: eonpro_core::id::ActorId::new("officer").unwrap(),
        second_approver: None,
    }
}

#[tokio::test]
async fn a_cipher_of_a_shredded_tenant_is_closed_in_another_process_at_once() {
    let (ours, theirs) = (scope(1), scope(2));
    let house = House::with_tenants(&[&ours, &theirs]).await;
    let (deaf, other) = (house.another_process().await, house.another_process().await);
    let listening = listen(&other);
    let mut ciphers = Vec::new();
    for (vault, of) in [(&other, &ours), (&other, &theirs), (&deaf, &ours)] {
        let cipher = vault.warm(of).await.unwrap();
        let sealed = cipher.seal(RECORDS, &cell(b"r"), b"x").unwrap();
        ciphers.push((cipher, sealed));
    }
    let open = |at: usize| {
        let (cipher, sealed) = &ciphers[at];
        cipher.open(RECORDS, &cell(b"r"), sealed)
    };
    settle().await;
    house
        .vault
        .shred(&chore(), (&ours).into(), approval())
        .await
        .unwrap();
    until("the shred", || matches!(open(0), Err(SealError::Shredded))).await;
    assert!(other.warmed(&ours).is_none());
    assert_eq!(open(1).unwrap().as_slice(), b"x");
    assert_eq!(open(2).unwrap().as_slice(), b"x", "nobody told that one");
    other.close().await;
    assert!(listening.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_shredded_patient_is_closed_in_another_process_and_the_other_patients_are_not() {
    let ward = Ward::build().await;
    let sealed = [ward.seal(1, b"x").await, ward.seal(2, b"y").await];
    let other = ward.another_process().await;
    let _listening = listen(&other);
    let one = other.warm_subject(&ward.tenant, patient(1)).await.unwrap();
    let two = other.warm_subject(&ward.tenant, patient(2)).await.unwrap();
    let (first, second) = (
        || one.open(&cell(b"r"), &sealed[0]),
        || two.open(&cell(b"r"), &sealed[1]),
    );
    assert!(first().is_ok());
    ward.shred(1).await;
    until("the patient", || {
        matches!(first(), Err(SealError::Shredded))
    })
    .await;
    settle().await;
    assert_eq!(second().unwrap().as_slice(), b"y");

    let request = ward.approved(ShredTarget::Tenant).await;
    ward.clock.advance(Duration::from_secs(24 * 3600));
    // The leases are over by now: these are new ones.
    let two = other.warm_subject(&ward.tenant, patient(2)).await.unwrap();
    ward.carry_out(&request).await.unwrap();
    until("the tenant", || {
        matches!(two.open(&cell(b"r"), &sealed[1]), Err(SealError::Shredded))
    })
    .await;
}

#[tokio::test]
async fn a_receipt_that_is_honoured_is_heard_of_as_well() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    let backup = ward.table.backup().await;
    let receipt = ward.shred(1).await;
    ward.table.restore(&backup).await;
    let (one, other) = (ward.another_process().await, ward.another_process().await);
    let _listening = listen(&other);
    let cipher = other.warm_subject(&ward.tenant, patient(1)).await.unwrap();
    settle().await;
    one.honour_receipt(&person("clerk"), ward.scope(), &receipt)
        .await
        .unwrap();
    until("the patient", || {
        matches!(cipher.open(&cell(b"r"), &sealed), Err(SealError::Shredded))
    })
    .await;
}

#[tokio::test]
async fn a_key_that_is_compromised_stops_opening_in_another_process() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let other = house.another_process().await;
    let _listening = listen(&other);
    let cipher = other.warm(&ours).await.unwrap();
    let sealed = cipher.seal(RECORDS, &cell(b"r"), b"x").unwrap();
    let open = || cipher.open(RECORDS, &cell(b"r"), &sealed);
    settle().await;
    let (cx, place) = (chore(), SealScope::from(&ours));
    let turned = house.vault.turn_epoch(&cx, place, RECORDS.into());
    let old = turned.await.unwrap().old;
    let before = house.root.unwraps();
    let to = KeyState::Compromised;
    let set = house.vault.set_key_state(&cx, place, old, to);
    set.await.unwrap();
    until("the key", || open().is_err()).await;
    assert!(!matches!(open(), Err(SealError::Shredded)));
    until("another key that seals", || {
        cipher.seal(RECORDS, &cell(b"r"), b"y").is_ok()
    })
    .await;
    // To get that, the one who heard of it unwraps once. The one who changed it need not.
    assert_eq!(house.root.unwraps() - before, 1);
}

#[tokio::test]
async fn a_notice_that_takes_nothing_away_costs_no_root_key() {
    let (ours, theirs) = (scope(1), scope(2));
    let house = House::with_tenants(&[&ours, &theirs]).await;
    let other = house.another_process().await;
    let _listening = listen(&other);
    other.warm(&ours).await.unwrap();
    other.warm(&theirs).await.unwrap();
    settle().await;
    let before = house.root.unwraps();
    let forged = Key::new(format!("notice/{}", theirs.tenant()).into_bytes()).unwrap();
    let tx = Transaction::new().put(forged, "");
    let system = Partition::system("encryption");
    house.store.inner.commit(&system, tx).await.unwrap();
    settle().await;
    assert_eq!(house.root.unwraps(), before);
    assert!(other.warmed(&theirs).is_some());
}

/// A store whose watch says what the test says.
#[derive(Debug)]
struct Scripted {
    inner: Arc<MemoryKeyValue>,
    hints: Mutex<Option<mpsc::UnboundedReceiver<Change>>>,
    refuses: AtomicBool,
    /// What reads of a partition meet.
    trouble: Mutex<Option<(Partition, Trouble)>>,
    reads: AtomicUsize,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Hangs,
    Fails,
}

#[async_trait]
impl Component for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }
    fn posture(&self) -> Posture {
        self.inner.posture()
    }
    async fn health(&self) -> Health {
        Health::Healthy
    }
    async fn close(&self) {}
}

#[async_trait]
impl KeyValue for Scripted {
    fn capabilities(&self) -> KvCapabilities {
        self.inner.capabilities()
    }
    async fn get(&self, partition: &Partition, key: &Key) -> Result<Option<Versioned>, KvError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let trouble = *self.trouble.lock().unwrap();
        match trouble.filter(|(troubled, _)| troubled == partition) {
            None => self.inner.get(partition, key).await,
            Some((_, Trouble::Hangs)) => std::future::pending().await,
            Some((_, Trouble::Fails)) => Err(KvError::Backend("the test lets it fail".into())),
        }
    }
    async fn scan(
        &self,
        partition: &Partition,
        prefix: &[u8],
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<Entry>, KvError> {
        self.inner.scan(partition, prefix, after, limit).await
    }
    async fn commit(&self, partition: &Partition, tx: Transaction) -> Result<Version, KvError> {
        self.inner.commit(partition, tx).await
    }
    async fn watch(&self, _: &Partition, _: &[u8]) -> Result<BoxStream<'static, Change>, KvError> {
        if self.refuses.swap(false, Ordering::SeqCst) {
            return Err(KvError::Backend("the test refuses".into()));
        }
        let hints = self.hints.lock().unwrap().take().unwrap();
        Ok(Box::pin(futures_util::stream::unfold(
            hints,
            |mut hints| async { Some((hints.recv().await?, hints)) },
        )))
    }
}

impl Scripted {
    fn trouble(&self, of: &TenantScope, trouble: Trouble) {
        let partition = Partition::tenant(of.tenant(), "encryption");
        *self.trouble.lock().unwrap() = Some((partition, trouble));
    }

    fn heal(&self) {
        *self.trouble.lock().unwrap() = None;
    }
}

fn notice_of(tenant: &TenantScope) -> Change {
    Change::Key(Key::new(format!("notice/{}", tenant.tenant()).into_bytes()).unwrap())
}

/// A house, another process that hears what the test says, and the one who says it.
async fn scripted(refuses: bool) -> (House, Vault, mpsc::UnboundedSender<Change>) {
    let (house, other, say, _) = scripted_store(refuses).await;
    (house, other, say)
}

async fn scripted_store(
    refuses: bool,
) -> (House, Vault, mpsc::UnboundedSender<Change>, Arc<Scripted>) {
    let house = House::with_tenants(&[&scope(1), &scope(2)]).await;
    let (say, hints) = mpsc::unbounded_channel();
    let store = Arc::new(Scripted {
        inner: Arc::clone(&house.store.inner),
        hints: Mutex::new(Some(hints)),
        refuses: AtomicBool::new(refuses),
        trouble: Mutex::new(None),
        reads: AtomicUsize::new(0),
    });
    let clock = Arc::clone(&house.clock);
    let root = Arc::<CountingRoot>::clone(&house.root);
    let state: Arc<dyn KeyValue> = Arc::<Scripted>::clone(&store);
    let other = open(root, state, house.sink.emitter(clock)).await;
    (house, other, say, store)
}

#[tokio::test]
async fn a_tenant_whose_store_does_not_answer_keeps_no_notice_from_the_others() {
    let (house, other, say, store) = scripted_store(false).await;
    let _listening = listen(&other);
    let (ours, theirs) = (scope(1), scope(2));
    let one = other.warm(&ours).await.unwrap();
    other.warm(&theirs).await.unwrap();
    settle().await;
    store.trouble(&theirs, Trouble::Hangs);
    say.send(notice_of(&theirs)).unwrap();
    settle().await;
    let cx = chore();
    let shred = house.vault.shred(&cx, (&ours).into(), approval());
    shred.await.unwrap();
    say.send(notice_of(&ours)).unwrap();
    let seal = || one.seal(RECORDS, &cell(b"r"), b"x");
    until("the shred", || matches!(seal(), Err(SealError::Shredded))).await;
}

#[tokio::test]
async fn a_tenant_whose_store_fails_is_looked_at_again_and_keeps_no_notice_from_the_others() {
    let (house, other, say, store) = scripted_store(false).await;
    let (ours, theirs) = (scope(1), scope(2));
    let one = other.warm(&ours).await.unwrap();
    let two = other.warm(&theirs).await.unwrap();
    store.trouble(&theirs, Trouble::Fails);
    let _listening = listen(&other);
    settle().await;
    for tenant in [&ours, &theirs] {
        let cx = chore();
        let shred = house.vault.shred(&cx, tenant.into(), approval());
        shred.await.unwrap();
    }
    say.send(notice_of(&ours)).unwrap();
    let shredded = |cipher: &TenantCipher| {
        let sealed = cipher.seal(RECORDS, &cell(b"r"), b"x");
        matches!(sealed, Err(SealError::Shredded))
    };
    until("the shred", || shredded(&one)).await;
    store.heal();
    settle().await;
    assert!(!shredded(&two), "after the pause and no earlier");
    house.advance(Duration::from_secs(5));
    until("the other shred", || shredded(&two)).await;
}

#[tokio::test]
async fn a_shred_is_heard_while_a_fetch_of_the_same_keys_hangs() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let other = house.another_process().await;
    let _listening = listen(&other);
    let cipher = other.warm(&ours).await.unwrap();
    settle().await;
    let (cx, place) = (chore(), SealScope::from(&ours));
    let turned = house.vault.turn_epoch(&cx, place, RECORDS.into());
    turned.await.unwrap();
    let sealed = house.vault.seal(place, RECORDS, &cell(b"r"), b"x").await;
    let sealed = sealed.unwrap();
    house.root.hangs.store(true, Ordering::SeqCst);
    let unwraps = house.root.unwraps();
    let opening = task::start({
        let other = other.clone();
        async move { other.open(place, RECORDS, &cell(b"r"), &sealed).await }
    });
    until("the fetch", || house.root.unwraps() > unwraps).await;
    house.vault.shred(&cx, place, approval()).await.unwrap();
    let seal = || cipher.seal(RECORDS, &cell(b"r"), b"x");
    until("the shred", || matches!(seal(), Err(SealError::Shredded))).await;
    opening.abort();
}

#[tokio::test]
async fn a_key_that_is_compromised_stops_in_another_process_whose_root_key_cannot_be_had() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let other = house.another_process().await;
    let _listening = listen(&other);
    let cipher = other.warm(&ours).await.unwrap();
    let sealed = cipher.seal(RECORDS, &cell(b"r"), b"x").unwrap();
    let kept = cipher.seal(KeyPurpose::STATE, &cell(b"r"), b"y").unwrap();
    settle().await;
    let (cx, place) = (chore(), SealScope::from(&ours));
    let turned = house.vault.turn_epoch(&cx, place, RECORDS.into());
    let old = turned.await.unwrap().old;
    house.root.is_down.store(true, Ordering::SeqCst);
    let to = KeyState::Compromised;
    let set = house.vault.set_key_state(&cx, place, old, to);
    set.await.unwrap();
    let open = || cipher.open(RECORDS, &cell(b"r"), &sealed);
    until("the key", || matches!(open(), Err(SealError::Disabled))).await;
    let seal = || cipher.seal(RECORDS, &cell(b"r"), b"x");
    assert!(matches!(seal(), Err(SealError::Disabled)));
    settle().await;
    let opened = cipher.open(KeyPurpose::STATE, &cell(b"r"), &kept);
    assert_eq!(opened.unwrap().as_slice(), b"y");
    // Once the root is back, whoever asks next gets the key that seals now.
    house.root.is_down.store(false, Ordering::SeqCst);
    other.warm(&ours).await.unwrap();
    assert!(seal().is_ok());
}

#[tokio::test]
async fn hints_that_are_missed_over_and_over_cost_one_look_for_each_pause() {
    let (house, other, say, store) = scripted_store(false).await;
    other.warm(&scope(1)).await.unwrap();
    other.warm(&scope(2)).await.unwrap();
    let reads = || store.reads.load(Ordering::SeqCst);
    let before = reads();
    let _listening = listen(&other);
    until("the first look", || reads() > before).await;
    settle().await;
    let one_look = reads() - before;
    let before = reads();
    for _ in 0..100 {
        say.send(Change::Lagged).unwrap();
    }
    settle().await;
    assert_eq!(reads(), before);
    house.advance(Duration::from_secs(5));
    until("another look", || reads() > before).await;
    settle().await;
    assert_eq!(reads() - before, one_look);
}

#[tokio::test]
async fn after_missed_hints_everything_at_hand_is_looked_at() {
    let (house, other, say) = scripted(false).await;
    let _listening = listen(&other);
    let (one, two) = (
        other.warm(&scope(1)).await.unwrap(),
        other.warm(&scope(2)).await.unwrap(),
    );
    settle().await;
    let ours = SealScope::from(&scope(1));
    house.vault.shred(&chore(), ours, approval()).await.unwrap();
    settle().await;
    assert!(one.seal(RECORDS, &cell(b"r"), b"x").is_ok(), "nobody heard");
    say.send(Change::Lagged).unwrap();
    // The look at the start was the one before.
    house.advance(Duration::from_secs(5));
    until("the shred", || {
        matches!(
            one.seal(RECORDS, &cell(b"r"), b"x"),
            Err(SealError::Shredded)
        )
    })
    .await;
    assert!(two.seal(RECORDS, &cell(b"r"), b"x").is_ok());
}

#[tokio::test]
async fn what_was_shredded_before_the_watch_could_begin_is_found() {
    let (house, other, _say) = scripted(true).await;
    let one = other.warm(&scope(1)).await.unwrap();
    let ours = SealScope::from(&scope(1));
    house.vault.shred(&chore(), ours, approval()).await.unwrap();
    let _listening = listen(&other);
    settle().await;
    assert!(one.seal(RECORDS, &cell(b"r"), b"x").is_ok(), "it failed");
    house.advance(Duration::from_secs(1));
    until("the shred", || {
        matches!(
            one.seal(RECORDS, &cell(b"r"), b"x"),
            Err(SealError::Shredded)
        )
    })
    .await;
}

#[tokio::test]
async fn whoever_listens_no_more_loses_nothing_but_the_notices() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let other = house.another_process().await;
    let listening = listen(&other);
    let cipher = other.warm(&ours).await.unwrap();
    settle().await;
    listening.abort();
    assert!(listening.await.is_err());
    let cx = chore();
    let destroyed = house.vault.shred(&cx, (&ours).into(), approval());
    let exposure = destroyed.await.unwrap().exposure;
    settle().await;
    assert!(cipher.seal(RECORDS, &cell(b"r"), b"x").is_ok());
    house.advance(exposure);
    assert!(cipher.seal(RECORDS, &cell(b"r"), b"x").is_err());
    assert!(other.warm(&ours).await.is_err());
}

#[tokio::test]
async fn two_vaults_on_one_redb_store_hear_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let house = House::build().await;
    let clock: eonpro_core::time::SharedClock = house.clock.clone();
    let store = RedbKeyValue::open(&folder.path().join("state.redb"), clock).unwrap();
    let store = Arc::new(store);
    let vault = async || {
        let emitter = house.sink.emitter(house.clock.clone());
        open(house.root.clone(), store.clone(), emitter).await
    };
    let (one, other) = (vault().await, vault().await);
    let ours = scope(1);
    one.provision((&ours).into()).await.unwrap();
    let listening = listen(&other);
    let cipher = other.warm(&ours).await.unwrap();
    settle().await;
    one.shred(&chore(), (&ours).into(), approval())
        .await
        .unwrap();
    until("the shred", || {
        matches!(
            cipher.seal(RECORDS, &cell(b"r"), b"x"),
            Err(SealError::Shredded)
        )
    })
    .await;
    other.close().await;
    assert!(listening.await.unwrap().is_ok());
    store.close().await;
}
