//! A foundation's keys: patients' own, epochs that turn when they are due, roots that stand in.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use eonpro::core::TenantScope;
use eonpro::core::component::{Component, Health, Posture};
use eonpro::core::entropy::SeededEntropy;
use eonpro::core::event::Code;
use eonpro::core::id::{RowId, SubjectId, TenantId};
use eonpro::core::phi::Column;
use eonpro::core::port::KeyPurpose;
use eonpro::core::secret::KeyBytes;
use eonpro::core::time::{ManualClock, Timestamp};
use eonpro::encryption::backend::{EphemeralEpochs, EphemeralRoot, KeyFile};
use eonpro::encryption::{
    CryptoError, EncryptionExt as _, KeyRole, KeyState, Recipient, RootDirectory, RootKey,
    RootKeyId, RotationConfig, RotationKind, Rotator, RotatorParts, SealError, SealScope,
    ShredApproval, ShredParts, ShredTarget, TenantRoots, WrapContext,
};
use eonpro::tenant::{
    Command, IdempotencyKey, Migration, SqliteRotation, State, SuspendReason, TenantError,
};
use eonpro::{CompleteBuilder, EmbeddedDirectory, Foundation, FoundationError, Profile};
use eonpro_testkit::tenant_id;

use crate::house::{Patient, admitted_as, embedded, onboarded, system_codes, try_onboarding};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ERASURE: Code = Code::constant("erasure-request");

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_seconds(1_790_000_000)))
}

fn at(dir: &Path, clock: &Arc<ManualClock>) -> CompleteBuilder {
    let builder = Foundation::embedded(dir).records::<(Patient,)>();
    builder.clock(Arc::<ManualClock>::clone(clock))
}

fn patient(foundation: &Foundation) -> Patient {
    Patient {
        id: RowId::random(&**foundation.entropy()),
        nickname: "Ada".into(),
    }
}

fn subject(number: u64) -> SubjectId {
    SubjectId::random(&SeededEntropy::new(number))
}

type Twin = <Patient as eonpro::core::phi::PhiRecord>::Sealed;

async fn sealed_for(foundation: &Foundation, scope: &TenantScope, number: u64) -> Twin {
    let record = patient(foundation);
    let encryption = foundation.encryption();
    let sealed = encryption.seal_record_for(scope, subject(number), record);
    sealed.await.unwrap()
}

async fn opens_for(
    foundation: &Foundation,
    scope: &TenantScope,
    number: u64,
    twin: &Twin,
) -> Result<(), CryptoError> {
    let encryption = foundation.encryption();
    let mut copy = encryption
        .seal_record(scope, patient(foundation))
        .await
        .unwrap();
    copy.id = twin.id;
    copy.nickname = eonpro::core::phi::Sealed::from_bytes(twin.nickname.as_bytes().to_vec());
    let opened: Patient = encryption
        .open_record_for(scope, subject(number), copy)
        .await?;
    assert_eq!(opened.nickname.expose(), "Ada");
    Ok(())
}

/// How many epochs of keys for records the scope has had.
async fn epochs(foundation: &Foundation, scope: SealScope) -> usize {
    let keys = foundation.encryption().keys(scope).await.unwrap();
    let records = keys.iter().filter(|key| key.role.name() == "records");
    records.count()
}

async fn seal_scope(foundation: &Foundation, tenant: TenantId) -> SealScope {
    let all = foundation.seal_scopes(&foundation.chore("test")).await;
    let mut found = all.unwrap().into_iter();
    found.find(|scope| scope.tenant() == Some(tenant)).unwrap()
}

#[tokio::test]
async fn an_embedded_foundation_shreds_one_patient_for_ever_and_the_others_live_on() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let foundation = at(dir.path(), &clock).build().await.unwrap();
    let tenant = onboarded(&foundation, "clinic-7").await.id();
    let scope = admitted_as(&foundation, tenant, "dr.grey").await;
    let one = sealed_for(&foundation, &scope, 1).await;
    let two = sealed_for(&foundation, &scope, 2).await;
    opens_for(&foundation, &scope, 1, &one).await.unwrap();

    let (encryption, of) = (foundation.encryption(), SealScope::from(&scope));
    let target = ShredTarget::Subject(subject(1));
    let request = encryption.request_shred(scope.cx(), of, target, ERASURE);
    let request = request.await.unwrap().id;
    for name in ["officer-1", "officer-2"] {
        let officer = admitted_as(&foundation, tenant, name).await;
        let approved = encryption.approve_shred(officer.cx(), of, target, request);
        approved.await.unwrap();
    }
    let receipt = encryption.carry_out_shred(scope.cx(), of, target, request);
    let receipt = receipt.await.unwrap();
    receipt.verify(&foundation.receipt_key().unwrap()).unwrap();
    let shredded = |opened| matches!(opened, Err(CryptoError::Seal(SealError::Shredded)));
    assert!(shredded(opens_for(&foundation, &scope, 1, &one).await));
    opens_for(&foundation, &scope, 2, &two).await.unwrap();

    // The chore ends the epoch when its time has come, and then only the living are left.
    let cx = foundation.chore("upkeep");
    let early = foundation.maintain_keys(&cx).await.unwrap();
    assert!(early.is_clean() && early.shred_epochs == 0, "{early:?}");
    let before = encryption.shred_epoch(of).await.unwrap().unwrap();
    clock.advance(DAY * 7);
    let due = foundation.maintain_keys(&cx).await.unwrap();
    assert!(due.is_clean(), "{due:?}");
    assert_eq!((due.shred_epochs, due.moved, due.destroyed), (1, 1, 1));
    let after = encryption.shred_epoch(of).await.unwrap().unwrap();
    assert_ne!(before.id, after.id);
    assert!(foundation.shutdown().await.is_clean());

    let foundation = at(dir.path(), &clock).build().await.unwrap();
    let scope = admitted_as(&foundation, tenant, "dr.grey").await;
    assert!(shredded(opens_for(&foundation, &scope, 1, &one).await));
    opens_for(&foundation, &scope, 2, &two).await.unwrap();
    receipt.verify(&foundation.receipt_key().unwrap()).unwrap();
    foundation.shutdown().await;
}

#[tokio::test]
async fn the_chore_turns_what_is_old_for_every_tenant_and_the_system_and_only_once() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let foundation = at(dir.path(), &clock).build().await.unwrap();
    let (cx, chore) = (foundation.chore("test"), foundation.chore("upkeep"));
    let mut scopes = vec![SealScope::System];
    for slug in ["active", "suspended"] {
        let tenant = onboarded(&foundation, slug).await;
        scopes.push(seal_scope(&foundation, tenant.id()).await);
    }
    let [suspended, shredded] = ["suspended", "shredded"].map(|slug| onboarded(&foundation, slug));
    let (suspended, shredded) = (suspended.await, shredded.await);
    let suspend = Command::Suspend(SuspendReason::Billing);
    let once = IdempotencyKey::new("suspend").unwrap();
    let applied =
        foundation
            .tenants()
            .apply(&cx, suspended.id(), suspend, suspended.version(), once);
    assert_eq!(applied.await.unwrap().state(), State::Suspended);
    let gone = seal_scope(&foundation, shredded.id()).await;
    let approval = ShredApproval {
        approver: eonpro::core::id::ActorId::new("officer").unwrap(),
        second_approver: None,
    };
    let shred = foundation.encryption().shred(&cx, gone, approval);
    shred.await.unwrap();

    clock.advance(DAY * 89);
    let early = foundation.maintain_keys(&chore).await.unwrap();
    assert!(early.is_clean(), "{early:?}");
    assert_eq!((early.scopes, early.turned, early.without_keys), (3, 0, 1));
    clock.advance(DAY);
    let due = foundation.maintain_keys(&chore).await.unwrap();
    assert!(due.is_clean(), "{due:?}");
    assert_eq!((due.scopes, due.without_keys), (3, 1));
    assert!(due.turned >= 3, "{due:?}");
    for scope in scopes {
        assert_eq!(epochs(&foundation, scope).await, 2, "{scope:?}");
        let keys = foundation.encryption().keys(scope).await.unwrap();
        let is_stable = |key: &&eonpro::encryption::KeyStatus| key.role == KeyRole::Wrapping;
        let wrapping: Vec<_> = keys.iter().filter(is_stable).collect();
        assert!(wrapping.iter().all(|key| key.state == KeyState::Primary));
    }
    let again = foundation.maintain_keys(&chore).await.unwrap();
    assert_eq!(again.turned, 0, "{again:?}");
    let told = system_codes(&**foundation.audit(), &cx).await;
    let turned = told.iter().filter(|code| *code == "KEY-002").count();
    assert_eq!(turned, due.turned);
    foundation.shutdown().await;
}

#[tokio::test]
async fn a_chore_enters_an_active_tenant_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let foundation = embedded(dir.path()).await;
    let tenant = onboarded(&foundation, "clinic-7").await;
    let scope = foundation.chore_in("reseal", tenant.id()).await.unwrap();
    assert_eq!(scope.tenant(), tenant.id());
    let encryption = foundation.encryption();
    let twin = encryption.seal_record(&scope, patient(&foundation));
    let _opened: Patient = encryption
        .open_record(&scope, twin.await.unwrap())
        .await
        .unwrap();
    let suspend = Command::Suspend(SuspendReason::Legal);
    let once = IdempotencyKey::new("suspend").unwrap();
    let cx = foundation.chore("test");
    let tenants = foundation.tenants();
    let applied = tenants.apply(&cx, tenant.id(), suspend, tenant.version(), once);
    applied.await.unwrap();
    let refused = foundation.chore_in("reseal", tenant.id()).await;
    assert!(matches!(refused, Err(TenantError::NotInService(_))));
    let unknown = foundation.chore_in("reseal", tenant_id(7)).await;
    assert!(matches!(unknown, Err(TenantError::Unknown)));
    foundation.shutdown().await;
}

#[tokio::test]
async fn a_rotator_of_the_foundations_vault_plans_for_a_tenant_without_a_request() {
    const TABLE: [Migration; 1] = [Migration::new(
        1,
        &["CREATE TABLE patients (id BLOB PRIMARY KEY, nickname BLOB) STRICT"],
    )];
    let dir = tempfile::tempdir().unwrap();
    let foundation = embedded(dir.path()).await;
    let tenant = onboarded(&foundation, "clinic-7").await.id();
    let scope = foundation.chore_in("reseal", tenant).await.unwrap();
    let databases = foundation.databases();
    databases.migrate(&scope, &TABLE).await.unwrap();
    let schema = <Patient as eonpro::core::phi::PhiRecord>::SCHEMA;
    let source = SqliteRotation::new(databases.clone(), schema, Column::new("id"));
    let rotator = Rotator::new(RotatorParts {
        vault: foundation.vault().clone(),
        sources: vec![Arc::new(source)],
        config: RotationConfig::default(),
    });
    let kind = RotationKind::Reseal(KeyPurpose::RECORDS.into());
    let rotator = rotator.unwrap();
    rotator.plan(&scope, &kind).await.unwrap();
    assert!(rotator.status(&scope, &kind).await.unwrap().is_some());
    foundation.shutdown().await;
}

async fn key_file(dir: &Path) -> Arc<KeyFile> {
    Arc::new(
        KeyFile::open_or_generate(dir.join("root.key"))
            .await
            .unwrap(),
    )
}

#[tokio::test]
async fn a_standby_given_to_the_builder_opens_everything_once_the_first_root_is_gone() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let standby = key_file(elsewhere.path()).await;
    let with_standby = || Foundation::embedded(dir.path()).standby_root(standby.clone());
    let foundation = with_standby().build().await.unwrap();
    let tenant = onboarded(&foundation, "clinic-7").await.id();
    let scope = admitted_as(&foundation, tenant, "dr.grey").await;
    let twin = sealed_for(&foundation, &scope, 1).await;
    assert_eq!(foundation.health().await.overall(), Health::Healthy);
    assert!(foundation.shutdown().await.is_clean());

    // The directory makes another root key, which opens nothing.
    std::fs::remove_file(dir.path().join("keys").join("root.key")).unwrap();
    let alone = Foundation::embedded(dir.path()).build().await;
    assert!(matches!(
        alone,
        Err(FoundationError::Encryption(CryptoError::RootMismatch))
    ));
    let foundation = with_standby().build().await.unwrap();
    let scope = admitted_as(&foundation, tenant, "dr.grey").await;
    opens_for(&foundation, &scope, 1, &twin).await.unwrap();

    // Moved to the new root, nobody needs the standby any more.
    let cx = foundation.chore("rewrap");
    let scopes = foundation.seal_scopes(&cx).await.unwrap();
    let all = futures_util::stream::iter(scopes);
    let done = foundation.vault().rewrap_all(&cx, all).await;
    assert_eq!((done.rewrapped, done.failures), (2, 0), "{done:?}");
    assert!(foundation.shutdown().await.is_clean());
    let foundation = embedded(dir.path()).await;
    let scope = admitted_as(&foundation, tenant, "dr.grey").await;
    opens_for(&foundation, &scope, 1, &twin).await.unwrap();
    foundation.shutdown().await;
}

/// Says that every tenant holds a root of its own, and that it is `self.0`'s to give.
#[derive(Debug)]
struct AtTheTenants(Arc<Down>);

impl RootDirectory for AtTheTenants {
    fn wrapping(&self, _: SealScope) -> Option<Arc<dyn RootKey>> {
        Some(Arc::<Down>::clone(&self.0))
    }

    fn named(&self, _: SealScope, _: &RootKeyId) -> Option<Arc<dyn RootKey>> {
        None
    }

    fn accepts_own(&self, _: SealScope) -> bool {
        true
    }
}

/// A root that is down.
#[derive(Debug)]
struct Down(EphemeralRoot);

#[async_trait]
impl Component for Down {
    fn name(&self) -> &'static str {
        "down"
    }

    fn posture(&self) -> Posture {
        self.0.posture()
    }

    async fn health(&self) -> Health {
        Health::Unhealthy("down")
    }

    async fn close(&self) {}
}

#[async_trait]
impl RootKey for Down {
    fn id(&self) -> &RootKeyId {
        self.0.id()
    }

    async fn wrap(&self, _: &KeyBytes<32>, _: &WrapContext) -> Result<Vec<u8>, CryptoError> {
        Err(CryptoError::RootDisabled)
    }

    async fn unwrap(&self, _: &[u8], _: &WrapContext) -> Result<KeyBytes<32>, CryptoError> {
        Err(CryptoError::RootDisabled)
    }
}

#[tokio::test]
async fn an_onboarding_that_is_stuck_without_keys_fails_no_rewrap_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let foundation = embedded(dir.path()).await;
    onboarded(&foundation, "clinic-7").await;
    assert!(foundation.shutdown().await.is_clean());
    let root = Arc::new(Down(EphemeralRoot::generate().unwrap()));
    let stuck = Foundation::embedded(dir.path()).tenant_roots(Arc::new(AtTheTenants(root)));
    let foundation = stuck.build().await.unwrap();
    assert!(try_onboarding(&foundation, "stuck").await.is_err());
    foundation.shutdown().await;

    let foundation = embedded(dir.path()).await;
    let cx = foundation.chore("rewrap");
    let page = eonpro::tenant::Page::default();
    let records = foundation.tenants().list(&cx, page).await.unwrap();
    assert_eq!(records.len(), 2);
    let scopes = foundation.seal_scopes(&cx).await.unwrap();
    assert_eq!(scopes.len(), 2, "the system's and the clinic's");
    let all = futures_util::stream::iter(scopes);
    let done = foundation.vault().rewrap_all(&cx, all).await;
    assert_eq!((done.rewrapped, done.failures), (2, 0), "{done:?}");

    onboarded(&foundation, "stuck").await;
    assert_eq!(foundation.seal_scopes(&cx).await.unwrap().len(), 3);
    foundation.shutdown().await;
}

/// Remembers for whose keys it was asked.
#[derive(Debug)]
struct Safe(RootKeyId, Mutex<Vec<SealScope>>);

#[async_trait]
impl Recipient for Safe {
    fn id(&self) -> &RootKeyId {
        &self.0
    }

    async fn wrap(&self, _: &KeyBytes<32>, context: &WrapContext) -> Result<Vec<u8>, CryptoError> {
        self.1.lock().unwrap().push(context.scope);
        Ok(vec![7; 64])
    }
}

#[tokio::test]
async fn what_the_builder_is_given_for_the_vault_reaches_it() {
    let dir = tempfile::tempdir().unwrap();
    let safe = Arc::new(Safe(RootKeyId::new("safe:1").unwrap(), Mutex::default()));
    let (own, roots) = (
        Arc::new(EphemeralRoot::generate().unwrap()),
        TenantRoots::new(),
    );
    let roots = Arc::new(roots);
    let build = || Foundation::embedded(dir.path()).tenant_roots(roots.clone());
    let foundation = build()
        .recovery_recipient(safe.clone())
        .build()
        .await
        .unwrap();
    assert_eq!(*safe.1.lock().unwrap(), [SealScope::System]);
    let tenant = onboarded(&foundation, "clinic-7").await.id();
    let ours = seal_scope(&foundation, tenant).await;
    roots.set(tenant, Some(own as Arc<dyn RootKey>));
    let cx = foundation.chore("test");
    foundation
        .encryption()
        .rewrap_keys(&cx, ours)
        .await
        .unwrap();
    assert!(foundation.shutdown().await.is_clean());

    let foundation = build().build().await.unwrap();
    let scope = admitted_as(&foundation, tenant, "dr.grey").await;
    let sealed = foundation
        .encryption()
        .seal_record(&scope, patient(&foundation));
    sealed.await.unwrap();
    assert!(foundation.shutdown().await.is_clean());
    let foundation = embedded(dir.path()).await;
    let scope = admitted_as(&foundation, tenant, "dr.grey").await;
    let refused = foundation
        .encryption()
        .seal_record(&scope, patient(&foundation));
    assert!(
        refused.await.is_err(),
        "without its root a tenant is closed"
    );
    let report = foundation.maintain_keys(&foundation.chore("upkeep")).await;
    assert!(
        report.unwrap().is_clean(),
        "nothing is due, so no root is asked"
    );
    foundation.shutdown().await;
}

#[tokio::test]
async fn a_custody_that_forgets_is_refused_by_name_and_one_that_is_replaced_is_not_asked() {
    let (dir, signers) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let signer = eonpro::audit::KeyFileSigner::open_or_create(&signers.path().join("receipts.key"));
    let parts = ShredParts {
        epochs: Arc::new(EphemeralEpochs::new()),
        signer: Arc::new(signer.unwrap()),
    };
    let backing = EmbeddedDirectory::at(dir.path());
    let audit = backing.audit();
    let builder = Foundation::builder(Profile::Embedded).backends(backing);
    let refused = builder.audit(audit).shredding(parts.clone()).build().await;
    let Err(FoundationError::Posture(refused)) = refused else {
        panic!("{refused:?}");
    };
    let names: Vec<_> = refused.faults.iter().map(|fault| fault.part).collect();
    assert_eq!(names, ["ephemeral-epochs"]);

    let backing = EmbeddedDirectory::at(dir.path());
    let audit = backing.audit();
    let builder = Foundation::builder(Profile::Test).backends(backing);
    let foundation = builder
        .audit(audit)
        .shredding(parts.clone())
        .build()
        .await
        .unwrap();
    assert_eq!(foundation.receipt_key(), Some(parts.signer.public_key()));
    let tenant = onboarded(&foundation, "clinic-7").await.id();
    let scope = admitted_as(&foundation, tenant, "dr.grey").await;
    let _twin = sealed_for(&foundation, &scope, 1).await;
    assert_eq!(parts.epochs.epochs().await.unwrap().len(), 1);
    foundation.shutdown().await;
}

#[tokio::test]
async fn the_chore_counts_the_epochs_of_a_custody_that_was_replaced() {
    let (dir, signers) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let signer = eonpro::audit::KeyFileSigner::open_or_create(&signers.path().join("receipts.key"));
    let signer = Arc::new(signer.unwrap());
    let with_a_custody_of_its_own = || {
        let backing = EmbeddedDirectory::at(dir.path());
        let audit = backing.audit();
        let builder = Foundation::builder(Profile::Test).backends(backing);
        let parts = ShredParts {
            epochs: Arc::new(EphemeralEpochs::new()),
            signer: Arc::<eonpro::audit::KeyFileSigner>::clone(&signer),
        };
        builder.audit(audit).shredding(parts).build()
    };
    let foundation = with_a_custody_of_its_own().await.unwrap();
    let tenant = onboarded(&foundation, "clinic-7").await.id();
    let scope = admitted_as(&foundation, tenant, "dr.grey").await;
    let _twin = sealed_for(&foundation, &scope, 1).await;
    foundation.shutdown().await;

    let foundation = with_a_custody_of_its_own().await.unwrap();
    let cx = foundation.chore("test");
    let ours = seal_scope(&foundation, tenant).await;
    let approval = ShredApproval {
        approver: eonpro::core::id::ActorId::new("officer").unwrap(),
        second_approver: None,
    };
    let shred = foundation.encryption().shred(&cx, ours, approval);
    shred.await.unwrap();
    let upkeep = foundation.maintain_keys(&cx).await.unwrap();
    assert!(upkeep.is_clean(), "{upkeep:?}");
    assert_eq!((upkeep.destroyed, upkeep.foreign), (0, 1));
    foundation.shutdown().await;
}

#[tokio::test]
async fn health_says_which_library_seals_and_that_no_certificate_covers_it() {
    let dir = tempfile::tempdir().unwrap();
    let foundation = embedded(dir.path()).await;
    let health = foundation.health().await;
    assert_eq!(health.crypto, foundation.encryption().profile());
    assert_eq!(health.crypto.to_string(), "ring 0.17, not validated");
    let validated = foundation.posture().crypto;
    assert_eq!(validated, eonpro::core::component::Validation::NotValidated);
    foundation.shutdown().await;
}
