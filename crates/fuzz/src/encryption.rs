//! Every parser of encryption, fed with bytes of a stranger through the public API.
//!
//! Each body takes one input, checks what must hold for any, and returns whether the input was
//! accepted. The fuzzer ignores the answer; the test that replays the corpora does not. The keys are
//! those of `fixture`, so that valid messages can be in a corpus.
#![allow(
    unreachable_pub,
    reason = "also a module of a test of eonpro-encryption, where nothing is above it"
)]

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::{EmitError, Emitter, Event, EventSink};
use eonpro_core::id::RowId;
use eonpro_core::port::kv::{Key, KeyValue as _, MemoryKeyValue, Partition, Transaction};
use eonpro_core::port::{NoObserver, Sealer as _, WrappedKey};
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::time::{ManualClock, Timestamp};
use eonpro_core::{RequestContext, TenantScope};
use eonpro_encryption::backend::{KeyFile, Keyring};
use eonpro_encryption::cobblestone::{HEADER_LEN, InputKey, StreamOpener, plain_len};
use eonpro_encryption::{
    Binding, Cell, ClientCipher, ClientKey, Column, Encryption as _, EncryptionExt as _,
    FieldSealing, HEAD_LEN, KeyId, KeyPurpose, Phi, PhiRecord, RecordHead, RecoveryKey, RootKey,
    Row, Sealed, Table, TenantCipher, Vault, VaultParts,
};
use eonpro_testkit::{scope, tenant_id};
use tokio::runtime::Runtime;

/// The key file of the fixture's root.
pub const KEY_FILE: &[u8] = include_bytes!("../fixture/key_file.json");
/// The key record of the fixture's tenant.
pub const KEY_RECORD: &[u8] = include_bytes!("../fixture/key_record.json");
/// The fixture's tenant.
pub const TENANT: u128 = 0xf0;
/// The context of the messages of [`message`].
pub const CONTEXT: &[u8] = b"fuzz";
/// What opens the keyrings of [`keyring`].
pub const PASSPHRASE: &str = "correct horse battery staple";
/// The cell of everything that is sealed here.
pub const CELL: (Table, Column, &[u8]) = (Table::new("patients"), Column::new("note"), b"row");

const RECORDS: KeyPurpose = KeyPurpose::RECORDS;

/// One body.
pub type Body = fn(&[u8]) -> bool;
/// All of them, by the name of their target and of their corpus.
pub const TARGETS: &[(&str, Body)] = &[
    ("client", client),
    ("key_file", key_file),
    ("key_record", key_record),
    ("keyring", keyring),
    ("message", message),
    ("stream", stream),
    ("value", value),
    ("whole", whole),
    ("wrapped_key", wrapped_key),
];

/// How the fields are sealed that [`value`] opens; the first byte of its input chooses.
pub const SEALINGS: [FieldSealing; 4] = [
    FieldSealing::STANDARD,
    FieldSealing {
        pad: 16,
        ..FieldSealing::STANDARD
    },
    FieldSealing {
        bind: Binding::Column,
        ..FieldSealing::STANDARD
    },
    FieldSealing {
        bind: Binding::Column,
        pad: 16,
        ..FieldSealing::STANDARD
    },
];

/// The record of [`whole`].
#[derive(Debug, PhiRecord)]
#[phi(table = "visits", mode = "whole")]
pub struct Visit {
    /// Always row 7.
    #[phi(row)]
    pub id: RowId,
    /// A text.
    #[phi(seal)]
    pub note: Phi<String>,
    /// Bytes that may be missing.
    #[phi(seal, pad = 16)]
    pub picture: Option<Phi<Vec<u8>>>,
}

/// The row of a [`Visit`].
pub fn visit_row() -> RowId {
    RowId::random(&SeededEntropy::new(7))
}

/// The cell, with a row that lives as long as anybody wants.
pub fn cell() -> Cell<'static> {
    let (table, column, row) = CELL;
    Cell::new(table, column, Row::named(row).expect("a row"))
}

/// The key of [`message`], and of the client and the recovery of [`client`].
pub fn key_bytes() -> KeyBytes<32> {
    KeyBytes::take(&mut [7; 32])
}

/// The client of [`client`].
pub fn client_cipher() -> ClientCipher {
    let key = ClientKey::new(client_key_id(), key_bytes()).expect("an id");
    ClientCipher::new(tenant_id(TENANT), RECORDS, &key)
}

/// The id of its key.
pub fn client_key_id() -> KeyId {
    KeyId::from_be_bytes([0, 0, 0, 0xf0])
}

/// Hears nothing: a recording sink would grow for as long as one fuzzes.
#[derive(Debug)]
struct Deaf;

#[async_trait]
impl EventSink for Deaf {
    async fn emit(&self, _: &RequestContext, _: &Arc<Event>) -> Result<(), EmitError> {
        Ok(())
    }
}

/// A vault of the fixture's tenant, and its cipher.
struct Harness {
    runtime: Runtime,
    scope: TenantScope,
    vault: Vault,
    cipher: TenantCipher,
}

impl Harness {
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Harness> = OnceLock::new();
        SHARED.get_or_init(|| {
            let runtime = runtime();
            let scope = scope(TENANT);
            let (vault, cipher) = runtime.block_on(async {
                let vault = vault_on(KEY_RECORD).await.expect("the fixture");
                let cipher = vault.warm(&scope).await.expect("the fixture");
                (vault, cipher)
            });
            Self {
                runtime,
                scope,
                vault,
                cipher,
            }
        })
    }

    fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.build().expect("a runtime")
}

/// The fixture's root key, from its file.
pub async fn root() -> Arc<dyn RootKey> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("root.key");
    write_private(&path, KEY_FILE);
    Arc::new(KeyFile::open_or_generate(path).await.expect("the fixture"))
}

/// A vault over a store that holds `record` for the tenant, or nothing at all if it is empty.
pub async fn vault_on(record: &[u8]) -> Option<Vault> {
    let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
    let state = Arc::new(MemoryKeyValue::new(Arc::<ManualClock>::clone(&clock)));
    let (partition, key) = record_place();
    if !record.is_empty() {
        let put = Transaction::new().put(key, record.to_vec());
        state.commit(&partition, put).await.ok()?;
    }
    vault_over(state).await
}

/// A vault over that store.
pub async fn vault_over(state: Arc<MemoryKeyValue>) -> Option<Vault> {
    let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
    let parts = VaultParts {
        root: root().await,
        state,
        emitter: Emitter::new(Arc::new(Deaf), clock, Arc::new(SeededEntropy::new(1))),
        observer: Arc::new(NoObserver),
        config: Default::default(),
    };
    Vault::open(parts).await.ok()
}

/// Where the tenant's key record lies.
pub fn record_place() -> (Partition, Key) {
    let partition = Partition::tenant(tenant_id(TENANT), "encryption");
    (partition, Key::new(b"keyset".as_slice()).expect("a key"))
}

fn write_private(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).expect("a file");
    file.write_all(bytes).expect("written");
}

/// All that a stream gives, fed in pieces of a length that depends on its own.
macro_rules! drain {
    ($opener:expr, $body:expr) => {{
        let (mut opener, body): (_, &[u8]) = ($opener, $body);
        let mut out = Default::default();
        for piece in body.chunks(1 + body.len() % 977) {
            opener.update(piece, &mut out).ok()?;
        }
        opener.finish(&mut out).ok()?;
        Some(out.to_vec())
    }};
}

/// A Cobblestone-256 message: as a whole and as a stream it gives the same, or is refused by both.
pub fn message(data: &[u8]) -> bool {
    let key = InputKey::new(&key_bytes());
    let whole = key.open(&[CONTEXT], data).ok();
    let streamed = data.first_chunk::<HEADER_LEN>().and_then(|header| {
        let opener = StreamOpener::begin(&key, &[CONTEXT], header).ok()?;
        drain!(opener, data.get(HEADER_LEN..)?)
    });
    assert_eq!(whole.as_ref().map(|plain| &***plain), streamed.as_deref());
    if let Some(plain) = &whole {
        assert_eq!(Some(plain.len()), plain_len(data.len()));
    }
    whole.is_some()
}

/// A stream under a key of the vault: it gives what the one-shot open of its bytes gives.
pub fn stream(data: &[u8]) -> bool {
    let cipher = &Harness::shared().cipher;
    let streamed = data.first_chunk::<HEAD_LEN>().and_then(|head| {
        let opener = cipher.open_stream(RECORDS, &cell(), head).ok()?;
        drain!(opener, data.get(HEAD_LEN..)?)
    });
    let whole = cipher.open(RECORDS, &cell(), data).ok();
    if let Some(streamed) = &streamed {
        assert_eq!(
            Some(streamed.as_slice()),
            whole.as_ref().map(|plain| &***plain)
        );
    }
    streamed.is_some()
}

/// A sealed value of any suite. The first byte of the input chooses binding and padding.
pub fn value(data: &[u8]) -> bool {
    let Some((choice, sealed)) = data.split_first() else {
        return false;
    };
    let harness = Harness::shared();
    let sealing = SEALINGS[usize::from(*choice) % SEALINGS.len()];
    let opened = harness.cipher.open_field(RECORDS, sealing, &cell(), sealed);
    if sealing == FieldSealing::STANDARD {
        let by_port = harness.wait(harness.vault.open(
            (&harness.scope).into(),
            RECORDS,
            &cell(),
            sealed,
        ));
        assert_eq!(opened.as_ref().ok(), by_port.as_ref().ok());
    }
    match opened {
        Ok(plain) => {
            assert!(plain.len() < sealed.len());
            true
        }
        Err(_) => false,
    }
}

/// A wrapped data key.
pub fn wrapped_key(data: &[u8]) -> bool {
    let harness = Harness::shared();
    let (tenant, cell) = ((&harness.scope).into(), cell());
    let wrapped = WrappedKey(data.to_vec());
    let unwrapped = harness
        .vault
        .unwrap(tenant, KeyPurpose::FILES, &cell, &wrapped);
    match harness.wait(unwrapped) {
        Ok(key) => {
            let part = key.seal(&cell, b"part").expect("a key that works");
            assert_eq!(&**key.open(&cell, &part).expect("its own part"), b"part");
            true
        }
        Err(_) => false,
    }
}

/// A record that is sealed as a whole: `u16 head length, u16 first field's length, head, first,
/// second`, big endian; no second field if nothing is left for it.
pub fn whole(data: &[u8]) -> bool {
    let Some(sealed) = split_visit(data) else {
        return false;
    };
    let harness = Harness::shared();
    let opened = harness.vault.open_record::<Visit>(&harness.scope, sealed);
    harness.wait(opened).is_ok()
}

fn split_visit(data: &[u8]) -> Option<<Visit as PhiRecord>::Sealed> {
    let ([a, b, c, d], rest) = data.split_first_chunk()?;
    let (head, rest) = rest.split_at_checked(u16::from_be_bytes([*a, *b]).into())?;
    let (note, picture) = rest.split_at_checked(u16::from_be_bytes([*c, *d]).into())?;
    Some(SealedVisit {
        id: visit_row(),
        phi_head: RecordHead::from_bytes(head.to_vec()),
        note: Sealed::from_bytes(note.to_vec()),
        picture: (!picture.is_empty()).then(|| Sealed::from_bytes(picture.to_vec())),
    })
}

/// The input of [`whole`] for that twin.
pub fn join_visit(sealed: &<Visit as PhiRecord>::Sealed) -> Vec<u8> {
    let (head, note) = (sealed.phi_head.as_bytes(), sealed.note.as_bytes());
    let picture = sealed
        .picture
        .as_ref()
        .map_or(&[][..], |picture| picture.as_bytes());
    let length = |part: &[u8]| u16::try_from(part.len()).expect("short").to_be_bytes();
    [&length(head)[..], &length(note), head, note, picture].concat()
}

/// A value, or a wrapped key, under a key that the client holds.
pub fn client(data: &[u8]) -> bool {
    let opened = client_cipher().open(&cell(), data);
    if opened.is_ok() {
        assert_eq!(ClientCipher::names(data), Some(client_key_id()));
    }
    let recovery = RecoveryKey::new(&key_bytes());
    let found = recovery.recover(tenant_id(TENANT), RECORDS, client_key_id(), data);
    opened.is_ok() || found.is_ok()
}

/// A key record. One that is accepted has keys that work.
pub fn key_record(data: &[u8]) -> bool {
    let harness = Harness::shared();
    harness.wait(async {
        let Some(vault) = vault_on(data).await else {
            return false;
        };
        let cipher = vault.warm(&harness.scope).await;
        if let Ok(cipher) = &cipher {
            let keys = vault.keys((&harness.scope).into()).await.expect("keys");
            assert!(!keys.is_empty());
            if let Ok(sealed) = cipher.seal(RECORDS, &cell(), b"x") {
                let opened = cipher.open(RECORDS, &cell(), &sealed);
                assert_eq!(&**opened.expect("its own value"), b"x");
            }
        }
        eonpro_core::component::Component::close(&vault).await;
        !data.is_empty() && cipher.is_ok()
    })
}

/// The file of a [`KeyFile`].
pub fn key_file(data: &[u8]) -> bool {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("root.key");
    write_private(&path, data);
    let opened = Harness::shared().wait(KeyFile::open_or_generate(path.clone()));
    assert_eq!(
        std::fs::read(path).expect("the file"),
        data,
        "never replaced"
    );
    opened.is_ok()
}

/// The file of a [`Keyring`]. What asks for much work is left out: it is allowed to take long.
pub fn keyring(data: &[u8]) -> bool {
    if asks_for_much(data) {
        return false;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("keyring.json");
    write_private(&path, data);
    let passphrase = SecretText::new(PASSPHRASE.to_owned());
    Harness::shared()
        .wait(Keyring::open(path, &passphrase))
        .is_ok()
}

/// Whether it is within the bounds, but beyond what one wants to wait for.
fn asks_for_much(data: &[u8]) -> bool {
    let Ok(file) = serde_json::from_slice::<serde_json::Value>(data) else {
        return false;
    };
    let cost = |name: &str| file["kdf"][name].as_u64().unwrap_or(0);
    let (memory, passes) = (cost("memory_kib"), cost("passes"));
    let within = memory <= 1 << 20 && passes <= 64;
    within && memory * passes > 2048
}
