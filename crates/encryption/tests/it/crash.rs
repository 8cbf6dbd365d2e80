//! kill -9 in the middle of rewraps, bulk rotations and index rotations, on redb and SQLite with real
//! syncs: every row opens, nothing that a writer was told is lost, uniqueness holds, and the work goes on.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eonpro_core::component::Component as _;
use eonpro_core::entropy::SystemEntropy;
use eonpro_core::event::{Code, Emitter};
use eonpro_core::id::{ActorId, IdTagger, TenantId};
use eonpro_core::identity::{Actor, ActorKind, Assurance, IdentityClaims};
use eonpro_core::phi::{
    Cell, Column, FieldSealing, IndexDef, IndexPart, IndexSlots, Normalizer, PhiField, PhiSchema,
    RecordMode, Row, Table,
};
use eonpro_core::port::{KeyValue, NoObserver, RotationSource, SealScope};
use eonpro_core::secret::KeyBytes;
use eonpro_core::time::{Clock, Monotonic, SharedClock, SystemClock, Timestamp};
use eonpro_core::{RequestContext, TenantScope, task};
use eonpro_encryption::backend::KeyFile;
use eonpro_encryption::{
    Encryption as _, EncryptionConfig, IndexColumns, IndexStatus, KeyPurpose, KeyState, Phase,
    RotationConfig, RotationKind, Rotator, RotatorParts, SealError, ShredApproval, TenantCipher,
    Vault, VaultParts,
};
use eonpro_redb::RedbKeyValue;
use eonpro_tenant::{
    DbError, Hints, IdempotencyKey, KvTenants, Migration, NewTenant, SqlValue, SqliteConfig,
    SqliteParts, SqliteRotation, SqliteTenants, TenantConfig, TenantError, TenantParts, TenantSlug,
    Tenants as _,
};
use eonpro_testkit::{RecordingSink, authority};
use uuid::Uuid;

const FOLDER: &str = "EONPRO_ENCRYPTION_CRASH_FOLDER";
const TENANT: &str = "EONPRO_ENCRYPTION_CRASH_TENANT";
const ROUNDS: &str = "EONPRO_CRASH_ROUNDS";
/// What a test run without the campaign does.
const SHORT: u64 = 3;
const ROWS: u128 = 400;
/// How much faster the clock runs than the system's, so that leases end and phases settle in a while.
const HASTE: u32 = 100;

const RECORDS: KeyPurpose = KeyPurpose::RECORDS;
const PATIENTS: Table = Table::new("patients");
const ID: Column = Column::new("id");
const SSN: Column = Column::new("ssn");
const NOTE: Column = Column::new("note");
const ODD: Column = Column::new("ssn_odd");
const EVEN: Column = Column::new("ssn_even");
const SSN_INDEX: IndexDef = IndexDef {
    table: PATIENTS,
    name: "ssn",
    bits: 128,
    version: 1,
    parts: &[IndexPart {
        column: SSN,
        normalizer: Normalizer::Exact,
    }],
};
const SCHEMA: PhiSchema = PhiSchema {
    name: "Patient",
    table: PATIENTS,
    mode: RecordMode::Fields,
    fields: &[field("ssn", SSN), field("note", NOTE)],
    compounds: &[],
};
const TABLES: [Migration; 1] = [Migration::new(
    1,
    &[
        "CREATE TABLE patients (id BLOB PRIMARY KEY, ssn BLOB NOT NULL, note BLOB NOT NULL, \
         ssn_odd BLOB UNIQUE, ssn_even BLOB UNIQUE) STRICT, WITHOUT ROWID",
    ],
)];
const INSERT: &str =
    "INSERT INTO patients (id, ssn, note, ssn_odd, ssn_even) VALUES (?1, ?2, ?3, ?4, ?5)";
const UPDATE: &str =
    "UPDATE patients SET ssn = ?2, note = ?3, ssn_odd = ?4, ssn_even = ?5 WHERE id = ?1";

const fn field(name: &'static str, column: Column) -> PhiField {
    PhiField {
        name,
        column,
        sealing: Some(FieldSealing::STANDARD),
        indexes: &[],
    }
}

#[expect(clippy::disallowed_methods, reason = "the test talks to its child")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The system's clock in haste. Wall time is the same in every process.
#[derive(Debug)]
struct HastyClock(SystemClock);

#[async_trait]
impl Clock for HastyClock {
    fn wall(&self) -> Timestamp {
        let base = Timestamp::from_seconds(1_790_000_000);
        base.plus(self.0.wall().since(base).saturating_mul(HASTE))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic::from_nanos(self.0.monotonic().nanos() * u64::from(HASTE))
    }

    async fn sleep_until(&self, at: Monotonic) {
        let at = at.nanos() / u64::from(HASTE);
        self.0.sleep_until(Monotonic::from_nanos(at + 1)).await;
    }
}

struct Site {
    vault: Vault,
    databases: Arc<SqliteTenants>,
    tenants: Arc<KvTenants>,
    state: Arc<RedbKeyValue>,
    clock: SharedClock,
}

impl Site {
    async fn open(folder: &Path) -> Self {
        let clock: SharedClock = Arc::new(HastyClock(SystemClock::new()));
        let state = RedbKeyValue::open(&folder.join("state.redb"), Arc::clone(&clock));
        let state = Arc::new(state.unwrap());
        let store: Arc<dyn KeyValue> = Arc::<RedbKeyValue>::clone(&state);
        let sink = RecordingSink::new();
        let entropy = Arc::new(SystemEntropy::new());
        let emitter = Emitter::new(sink, Arc::clone(&clock), entropy);
        let mut config = EncryptionConfig::default();
        config.cache_ttl = Duration::from_secs(60);
        let vault = Vault::open(VaultParts {
            root: Arc::new(
                KeyFile::open_or_generate(folder.join("root.key"))
                    .await
                    .unwrap(),
            ),
            state: Arc::clone(&store),
            emitter: emitter.clone(),
            observer: Arc::new(NoObserver),
            config,
        });
        let vault = vault.await.unwrap();
        let databases = SqliteTenants::open(
            &folder.join("tenants"),
            SqliteParts {
                state: Arc::clone(&store),
                clock: Arc::clone(&clock),
                observer: Arc::new(NoObserver),
            },
            SqliteConfig::default(),
        );
        let databases = Arc::new(databases.unwrap());
        let parts = TenantParts {
            state: store,
            sealer: Arc::new(vault.clone()),
            emitter,
            observer: Arc::new(NoObserver),
            databases: Arc::clone(&databases),
            tagger: Arc::new(IdTagger::new(&KeyBytes::take(&mut [7; 32]))),
        };
        let tenants = Arc::new(KvTenants::open(parts, TenantConfig::default()).unwrap());
        Self {
            vault,
            databases,
            tenants,
            state,
            clock,
        }
    }

    fn cx(&self) -> RequestContext {
        RequestContext::system("test", &*self.clock, &SystemEntropy::new())
    }

    async fn onboard(&self) -> TenantId {
        let new = NewTenant::new(
            TenantSlug::new("clinic").unwrap(),
            Code::constant("eu-1"),
            Code::constant("baa:1"),
        );
        let idem = IdempotencyKey::new("clinic").unwrap();
        self.tenants
            .onboard(&self.cx(), new, idem)
            .await
            .unwrap()
            .id()
    }

    async fn scope(&self, tenant: TenantId) -> TenantScope {
        let identity = authority().vouch(IdentityClaims {
            issuer: Arc::from("https://issuer.test"),
            actor: Actor {
                kind: ActorKind::User,
                id: ActorId::new("dr.grey").unwrap(),
                roles: Arc::from([]),
                session: None,
            },
            tenant: Some(tenant),
            assurance: Assurance::default(),
            expires: Timestamp::from_nanos(i64::MAX),
        });
        let cx = self
            .tenants
            .resolve(self.cx(), &identity, &Hints::none())
            .await;
        cx.unwrap().tenant_scope().unwrap()
    }

    fn rotator(&self) -> Rotator {
        let source = SqliteRotation::new(Arc::clone(&self.databases), &SCHEMA, ID);
        let source: Arc<dyn RotationSource> = Arc::new(source.with_slots(&[ODD, EVEN]));
        let mut config = RotationConfig::default();
        config.batch_rows = 16;
        config.lease = Duration::from_secs(20);
        config.settle_margin = Duration::from_secs(1);
        Rotator::new(RotatorParts {
            vault: self.vault.clone(),
            sources: vec![source],
            config,
        })
        .unwrap()
    }

    /// The parameters of a row: its social security number never changes, its note counts.
    async fn row(&self, scope: &TenantScope, number: u128, note: u64) -> [SqlValue; 5] {
        loop {
            let cipher = self.vault.warm(scope).await.unwrap();
            match seal_row(&cipher, number, note) {
                // The clock is in haste: on a busy machine a lease may be over at once.
                Err(SealError::Disabled) => {}
                sealed => return sealed.unwrap(),
            }
        }
    }

    async fn close(self) {
        self.tenants.close().await;
        self.databases.close().await;
        self.vault.close().await;
        self.state.close().await;
    }
}

fn seal_row(cipher: &TenantCipher, number: u128, note: u64) -> Result<[SqlValue; 5], SealError> {
    let id = id(number);
    let at = |column| Cell::new(PATIENTS, column, Row::named(&id).unwrap());
    let slots = cipher.index(&SSN_INDEX, &[&ssn(number)])?;
    let ssn = cipher.seal(RECORDS, &at(SSN), ssn(number).as_bytes())?;
    let note = cipher.seal(RECORDS, &at(NOTE), note.to_string().as_bytes())?;
    let (odd, even) = tokens(slots);
    Ok([id.to_vec().into(), ssn.into(), note.into(), odd, even])
}

fn id(number: u128) -> [u8; 16] {
    *Uuid::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).as_bytes()
}

fn ssn(number: u128) -> String {
    format!("999-{number:06}")
}

fn tokens(slots: IndexSlots) -> (SqlValue, SqlValue) {
    let token = |token: Option<eonpro_core::phi::IndexToken>| {
        SqlValue::from(token.map(eonpro_core::phi::IndexToken::into_bytes))
    };
    (token(slots.odd), token(slots.even))
}

fn reindex() -> RotationKind {
    RotationKind::Reindex(IndexColumns::of_text(&SSN_INDEX, ODD, EVEN))
}

fn approval() -> ShredApproval {
    ShredApproval {
        approver: ActorId::new("officer").unwrap(),
        second_approver: None,
    }
}

fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "child {line} durably").unwrap();
}

/// Everything that changes keys, over and over.
async fn rotate_for_ever(site: &Site, scope: &TenantScope) {
    let (rotator, ours) = (site.rotator(), SealScope::from(scope));
    // What the last child left half done comes first.
    loop {
        for kind in [RotationKind::Reseal(RECORDS.into()), reindex()] {
            site.vault.rewrap_keys(&site.cx(), ours).await.unwrap();
            if matches!(kind, RotationKind::Reseal(_)) {
                site.vault
                    .turn_epoch(&site.cx(), ours, RECORDS.into())
                    .await
                    .unwrap();
            }
            rotator.plan(scope, &kind).await.unwrap();
            say("begins");
            loop {
                match rotator.run(scope, &kind).await {
                    Ok(status) if status.phase == Phase::Failed => {
                        panic!("{status:?}");
                    }
                    Ok(_) => break,
                    Err(eonpro_encryption::CryptoError::Held { retry_after }) => {
                        let until = site.clock.monotonic().plus(retry_after);
                        site.clock.sleep_until(until).await;
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
            say("completed");
            for key in site.vault.keys(ours).await.unwrap() {
                if key.state == KeyState::Drained {
                    rotator
                        .destroy_drained(scope, key.id, approval())
                        .await
                        .unwrap();
                }
            }
        }
    }
}

/// An application that goes on writing.
async fn write_for_ever(site: &Site, scope: &TenantScope, first: u64) {
    for note in first.. {
        let number = u128::from(note.wrapping_mul(7919)) % ROWS;
        let row = site.row(scope, number, note).await;
        let done = site
            .databases
            .run(scope, move |db| db.execute(UPDATE, &row))
            .await;
        assert_eq!(done.unwrap(), 1);
        say(&format!("wrote {number} {note}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the crash test; does nothing by itself"]
async fn child_rotates_until_it_is_killed() {
    let Some((folder, words)) = variable(FOLDER).zip(variable(TENANT)) else {
        return;
    };
    let (tenant, first) = words.split_once(' ').unwrap();
    let tenant = TenantId::from_uuid(tenant.parse().unwrap()).unwrap();
    let site = Arc::new(Site::open(Path::new(&folder)).await);
    let scope = site.scope(tenant).await;
    let first = first.parse().unwrap();
    let (writer, at) = (Arc::clone(&site), scope.clone());
    let writing = task::start(async move { write_for_ever(&writer, &at, first).await });
    tokio::select! {
        () = rotate_for_ever(&site, &scope) => {}
        ended = writing => ended.unwrap(),
    }
}

/// What a killed child had been told.
#[derive(Debug, Default)]
struct Told {
    /// The last note of each row that was acknowledged.
    notes: BTreeMap<u128, u64>,
    last: u64,
    completed: u64,
    begun: u64,
}

impl Told {
    fn hear(&mut self, line: &str) {
        // The test harness may have begun the line, and the kill may have torn it.
        let Some((_, said)) = line.split_once("child ") else {
            return;
        };
        let Some(said) = said.strip_suffix(" durably") else {
            return;
        };
        match said.split(' ').collect::<Vec<_>>().as_slice() {
            ["wrote", number, note] => {
                let (number, note) = (number.parse().unwrap(), note.parse().unwrap());
                self.notes.insert(number, note);
                self.last = self.last.max(note);
            }
            ["completed"] => self.completed += 1,
            ["begins"] => self.begun += 1,
            _ => {}
        }
    }
}

fn start(folder: &Path, tenant: TenantId, first: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["crash::child_rotates_until_it_is_killed", "--exact"])
        .args(["--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(TENANT, format!("{tenant} {first}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs the child until it has said `enough` lines, and kills it.
fn crash(folder: &Path, tenant: TenantId, told: &mut Told, enough: u64) {
    let mut child = start(folder, tenant, told.last + 1);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..enough {
        told.hear(&lines.next().expect("the child died by itself").unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had still acknowledged before it died counts too.
    for line in lines.map_while(Result::ok) {
        told.hear(&line);
    }
}

async fn check(site: &Site, scope: &TenantScope, told: &Told) {
    let all = "SELECT id, ssn, note, ssn_odd, ssn_even FROM patients";
    let rows = site.databases.run(scope, move |db| {
        db.query(all, &[], |row| {
            let columns = (0..5).map(|at| row.value(at));
            columns.collect::<Result<Vec<_>, _>>()
        })
    });
    let rows = rows.await.unwrap();
    assert_eq!(rows.len() as u128, ROWS, "rows are missing or too many");
    let numbers: BTreeMap<[u8; 16], u128> = (0..ROWS).map(|number| (id(number), number)).collect();
    for row in rows {
        loop {
            let cipher = site.vault.warm(scope).await.unwrap();
            match check_row(&cipher, &row, &numbers, told) {
                Err(SealError::Disabled) => {}
                checked => break checked.unwrap(),
            }
        }
    }
    // A second row with a number that exists is refused in every phase.
    let mut twin = site.row(scope, 7, 0).await;
    twin[0] = vec![0xff; 16].into();
    let refused = site
        .databases
        .run(scope, move |db| db.execute(INSERT, &twin))
        .await;
    assert!(
        matches!(refused, Err(TenantError::Database(DbError::Conflict))),
        "uniqueness lapsed: {refused:?}"
    );
}

fn check_row(
    cipher: &TenantCipher,
    row: &[SqlValue],
    numbers: &BTreeMap<[u8; 16], u128>,
    told: &Told,
) -> Result<(), SealError> {
    let [
        SqlValue::Blob(id),
        SqlValue::Blob(sealed),
        SqlValue::Blob(note),
        odd,
        even,
    ] = row
    else {
        panic!("a row of another shape");
    };
    let number = numbers[<&[u8; 16]>::try_from(&id[..]).unwrap()];
    let at = |column| Cell::new(PATIENTS, column, Row::named(id).unwrap());
    let opened = cipher.open(RECORDS, &at(SSN), sealed)?;
    assert_eq!(opened.as_slice(), ssn(number).as_bytes());
    let opened = cipher.open(RECORDS, &at(NOTE), note)?;
    let opened: u64 = String::from_utf8(opened.to_vec()).unwrap().parse().unwrap();
    let promised = told.notes.get(&number).copied().unwrap_or(0);
    assert!(
        opened >= promised,
        "row {number}: {opened} in place of {promised}"
    );
    let (asked_odd, asked_even) = tokens(cipher.query(&SSN_INDEX, &[&ssn(number)])?);
    let found = (asked_odd != SqlValue::Null && asked_odd == *odd)
        || (asked_even != SqlValue::Null && asked_even == *even);
    assert!(found, "row {number} is not found by its index");
    Ok(())
}

/// Runs what was begun to its end, with nobody in the way.
async fn complete(site: &Site, scope: &TenantScope) {
    let (rotator, ours) = (site.rotator(), SealScope::from(scope));
    for kind in [RotationKind::Reseal(RECORDS.into()), reindex()] {
        if rotator
            .status(scope, &kind)
            .await
            .unwrap()
            .is_some_and(|status| status.phase.is_workable())
        {
            let status = finish(site, &rotator, scope, &kind).await;
            assert_eq!(status, Phase::Completed);
        }
    }
    site.vault
        .turn_epoch(&site.cx(), ours, RECORDS.into())
        .await
        .unwrap();
    for kind in [RotationKind::Reseal(RECORDS.into()), reindex()] {
        rotator.plan(scope, &kind).await.unwrap();
        assert_eq!(finish(site, &rotator, scope, &kind).await, Phase::Completed);
        let status = rotator.status(scope, &kind).await.unwrap().unwrap();
        assert_eq!(
            (u128::from(status.done), u128::from(status.total)),
            (ROWS, ROWS)
        );
        assert_eq!((status.unopened, status.remaining), (0, 0));
    }
    for key in site.vault.keys(ours).await.unwrap() {
        let is_old = key.role.name() == "records" && key.state != KeyState::Primary;
        let gone = matches!(key.state, KeyState::Drained | KeyState::Destroyed);
        assert!(!is_old || gone, "{key:?}");
    }
    let index = site.vault.index_status(ours, &SSN_INDEX).await.unwrap();
    assert!(matches!(index, IndexStatus::Stable { .. }), "{index:?}");
}

async fn finish(site: &Site, rotator: &Rotator, scope: &TenantScope, kind: &RotationKind) -> Phase {
    loop {
        match rotator.run(scope, kind).await {
            Ok(status) => return status.phase,
            Err(eonpro_encryption::CryptoError::Held { retry_after }) => {
                let until = site.clock.monotonic().plus(retry_after);
                site.clock.sleep_until(until).await;
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn campaign(rounds: u64) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().to_path_buf();
    let site = Site::open(&path).await;
    let tenant = site.onboard().await;
    let scope = site.scope(tenant).await;
    site.databases.migrate(&scope, &TABLES).await.unwrap();
    let mut rows = Vec::new();
    for number in 0..ROWS {
        rows.push(site.row(&scope, number, 0).await);
    }
    let inserted = site.databases.run(&scope, move |db| {
        rows.iter()
            .try_for_each(|row| db.execute(INSERT, row).map(drop))
    });
    inserted.await.unwrap();
    site.close().await;

    let mut told = Told::default();
    for round in 0..rounds {
        // From a few lines, in which the first rotation begins, to many rotations.
        let enough = 4 + round.wrapping_mul(0x9e37_79b9) % 300;
        crash(&path, tenant, &mut told, enough);
        let site = Site::open(&path).await;
        let scope = site.scope(tenant).await;
        check(&site, &scope, &told).await;
        site.close().await;
    }
    let site = Site::open(&path).await;
    let scope = site.scope(tenant).await;
    complete(&site, &scope).await;
    check(&site, &scope, &told).await;
    writeln!(
        std::io::stdout().lock(),
        "{rounds} kills; {} rotations begun and {} completed under them, {} writes acknowledged, none lost",
        told.begun,
        told.completed,
        told.last,
    )
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_keys_survive_a_few_kills() {
    campaign(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo xtask crash-encryption"]
async fn the_campaign() {
    let rounds = variable(ROUNDS).map_or(10, |rounds| rounds.parse().unwrap());
    campaign(rounds).await;
}
