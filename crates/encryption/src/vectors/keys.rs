//! Wrapped keys, keyrings, and keys that are derived from keys.

use argon2::{Algorithm, Argon2, Params};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::pae;
use eonpro_core::port::SealScope;
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Hex, OTHER, TENANT, counted, damaged, flipped, key_id, read, render, scope_of, tenant,
};
use crate::backend::{KeyFile, Keyring};
use crate::cobblestone::InputKey;
use crate::envelope::scope_bytes;
use crate::key_type::split_role;
use crate::keyset::{KeyRole, StoredKey};
use crate::live::{Wrapping, derive_mac_key};
use crate::root::{RootKey, RootKeyId, WrapContext};
use crate::state::KeyState;

const PASSPHRASE: &str = "correct horse battery staple";

fn seal(key: &Hex, salt: &Hex, context: &[u8], plain: &[u8]) -> Hex {
    let key = InputKey::new(&KeyBytes::copy_from(&key.0).unwrap());
    let salt = salt.0.as_slice().try_into().unwrap();
    let mut out = Vec::new();
    key.seal_with_salt(&salt, &[], &[context], plain, &mut out)
        .unwrap();
    Hex(out)
}

fn ours() -> Hex {
    Hex::from(scope_bytes(&Some(tenant(TENANT))))
}

/// A data key wrapped under a key-encryption key.
#[derive(Clone, Serialize, Deserialize)]
struct DataKey {
    comment: String,
    valid: bool,
    kek: Hex,
    kek_id: Hex,
    scope: Hex,
    role: String,
    /// The suite that the role tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    suite: Option<String>,
    epoch: u64,
    id: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Hex>,
    wrapped: Hex,
}

impl DataKey {
    fn new(comment: &str, role: &str, epoch: u64, key: &[u8]) -> Self {
        let mut test = Self {
            comment: comment.to_owned(),
            valid: true,
            kek: Hex::from(&counted::<32>(0x40)[..]),
            kek_id: Hex(vec![0x0b, 0, 0, 1]),
            scope: ours(),
            role: role.to_owned(),
            suite: Some(split_role(role).1.as_str().to_owned()),
            epoch,
            id: Hex(vec![0x0a, 0x1d, 0xc9, 0x95]),
            salt: Some(Hex::from(&counted::<24>(0xa0)[..])),
            key: Some(Hex::from(key)),
            context: None,
            wrapped: Hex::default(),
        };
        let context = test.context_bytes();
        test.wrapped = seal(&test.kek, test.salt.as_ref().unwrap(), &context, key);
        test.context = Some(Hex(context));
        test
    }

    fn wrapping(&self) -> Wrapping {
        let kek = KeyBytes::copy_from(&self.kek.0).unwrap();
        Wrapping::new(scope_of(&self.scope), key_id(&self.kek_id), &kek)
    }

    fn context_bytes(&self) -> Vec<u8> {
        let role = KeyRole::data(&self.role);
        self.wrapping().context(&role, self.epoch, key_id(&self.id))
    }

    fn unwrap(&self) -> Option<Hex> {
        let stored = StoredKey {
            id: key_id(&self.id),
            role: KeyRole::data(&self.role),
            epoch: self.epoch,
            state: KeyState::Primary,
            created: Timestamp::EPOCH,
            wrapped: self.wrapped.0.clone(),
            announced: true,
        };
        let key = self.wrapping().unwrap(&stored).ok()?;
        Some(Hex::from(key.expose()))
    }

    fn refused(&self, comment: &str, change: impl FnOnce(&mut Self)) -> Self {
        let mut test = self.clone();
        test.comment = comment.to_owned();
        test.valid = false;
        (test.salt, test.key, test.context) = (None, None, None);
        test.suite = None;
        change(&mut test);
        test
    }
}

fn data_keys() -> Vec<DataKey> {
    let key: [u8; 64] = counted(0x10);
    let one = DataKey::new("a key of the standard suite", "records", 1, &key[..32]);
    let mut tests = vec![
        one.clone(),
        DataKey::new("a key of a later epoch", "files", 0x0102_0304, &key[..32]),
        DataKey::new(
            "a key of the compact suite",
            "records+compact",
            1,
            &key[..32],
        ),
        DataKey::new(
            "a key of the deterministic suite",
            "records+deterministic",
            1,
            &key,
        ),
    ];
    let damaged = damaged(&one.wrapped).into_iter();
    tests.extend(damaged.map(|(what, wrapped)| one.refused(what, |test| test.wrapped = wrapped)));
    tests.extend([
        one.refused("another suite of the same purpose", |test| {
            test.role = "records+compact".to_owned();
        }),
        one.refused("another purpose", |test| test.role = "search".to_owned()),
        one.refused("another epoch", |test| test.epoch = 2),
        one.refused("another id", |test| test.id = flipped(&one.id, 3)),
        one.refused("another key-encryption key", |test| {
            test.kek = flipped(&one.kek, 0)
        }),
        one.refused("another id of the key-encryption key", |test| {
            test.kek_id = flipped(&one.kek_id, 3);
        }),
        one.refused("another tenant", |test| {
            test.scope = Hex::from(scope_bytes(&Some(tenant(OTHER))));
        }),
        one.refused("the system", |test| {
            test.scope = Hex::from(scope_bytes(&None))
        }),
    ]);
    tests
}

/// A key-encryption key wrapped under a root key that lies in a key file.
#[derive(Clone, Serialize, Deserialize)]
struct WrappingKey {
    comment: String,
    valid: bool,
    key_file: Value,
    scope: Hex,
    id: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Hex>,
    wrapped: Hex,
}

fn scope(bytes: &Hex) -> SealScope {
    match scope_of(bytes) {
        None => SealScope::System,
        Some(tenant) => {
            let number = u128::from_be_bytes(*tenant.as_bytes());
            SealScope::from(&eonpro_testkit::scope(number))
        }
    }
}

fn wrap_context(root: &str, scope_bytes: &Hex, id: &Hex) -> Vec<u8> {
    let context = WrapContext {
        scope: scope(scope_bytes),
        key: key_id(id),
    };
    context.encode(&RootKeyId::new(root).unwrap())
}

impl WrappingKey {
    fn new(comment: &str, scope: Hex) -> Self {
        let root = counted::<32>(0x70);
        let name = "key-file:0123456789abcdef";
        let (id, salt) = (
            Hex(vec![0x0b, 0, 0, 1]),
            Hex::from(&counted::<24>(0xa0)[..]),
        );
        let key = Hex::from(&counted::<32>(0x40)[..]);
        let context = wrap_context(name, &scope, &id);
        let wrapped = seal(&Hex::from(&root[..]), &salt, &context, &key.0);
        Self {
            comment: comment.to_owned(),
            valid: true,
            key_file: json!({
                "format": "eonpro-key-file",
                "version": 1,
                "id": name,
                "key": URL_SAFE_NO_PAD.encode(root),
            }),
            scope,
            id,
            salt: Some(salt),
            key: Some(key),
            context: Some(Hex(context)),
            wrapped,
        }
    }

    fn refused(&self, comment: &str, change: impl FnOnce(&mut Self)) -> Self {
        let mut test = self.clone();
        test.comment = comment.to_owned();
        test.valid = false;
        (test.salt, test.key, test.context) = (None, None, None);
        change(&mut test);
        test
    }
}

fn wrapping_keys() -> Vec<WrappingKey> {
    let one = WrappingKey::new("of a tenant", ours());
    let system = WrappingKey::new("of the system", Hex::from(scope_bytes(&None)));
    let mut tests = vec![one.clone(), system.clone()];
    let damaged = damaged(&one.wrapped).into_iter();
    tests.extend(damaged.map(|(what, wrapped)| one.refused(what, |test| test.wrapped = wrapped)));
    tests.extend([
        one.refused("of another tenant", |test| {
            test.scope = Hex::from(scope_bytes(&Some(tenant(OTHER))));
        }),
        one.refused("of the system", |test| test.scope = system.scope.clone()),
        one.refused("another id", |test| test.id = flipped(&one.id, 0)),
        one.refused("another name of the root key", |test| {
            test.key_file["id"] = json!("key-file:0123456789abcdee");
        }),
        one.refused("another root key", |test| {
            test.key_file["key"] = json!(URL_SAFE_NO_PAD.encode(counted::<32>(0x71)));
        }),
    ]);
    tests
}

/// A keyring, and a key-encryption key under the root key in it.
#[derive(Clone, Serialize, Deserialize)]
struct Ring {
    comment: String,
    valid: bool,
    passphrase: String,
    keyring: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    root: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Hex>,
    scope: Hex,
    id: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Hex>,
    wrapped: Hex,
}

impl Ring {
    fn new(comment: &str, passphrase: &str, cost: [u32; 3]) -> Self {
        let name = "keyring:87ff8d64367a9c01";
        let [memory_kib, passes, lanes] = cost;
        let stretch: [u8; 16] = counted(0x30);
        let params = Params::new(memory_kib, passes, lanes, Some(32)).unwrap();
        let mut sealing = [0; 32];
        Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params)
            .hash_password_into(passphrase.as_bytes(), &stretch, &mut sealing)
            .unwrap();
        let numbers = cost.map(u32::to_be_bytes);
        let [memory, turns, threads] = &numbers;
        let parts: [&[u8]; 6] = [
            b"eonpro/keyring/v1",
            name.as_bytes(),
            &stretch,
            memory,
            turns,
            threads,
        ];
        let context = pae::encode(&parts);
        let (root, salt) = (counted::<32>(0x70), Hex::from(&counted::<24>(0xa0)[..]));
        let sealed = seal(&Hex::from(&sealing[..]), &salt, &context, &root);
        let (scope, id) = (ours(), Hex(vec![0x0b, 0, 0, 1]));
        let key = Hex::from(&counted::<32>(0x40)[..]);
        let root = Hex::from(&root[..]);
        let wrapped = seal(&root, &salt, &wrap_context(name, &scope, &id), &key.0);
        Self {
            comment: comment.to_owned(),
            valid: true,
            passphrase: passphrase.to_owned(),
            keyring: json!({
                "format": "eonpro-keyring",
                "version": 1,
                "id": name,
                "kdf": {
                    "algorithm": "argon2id",
                    "version": 19,
                    "memory_kib": memory_kib,
                    "passes": passes,
                    "lanes": lanes,
                    "salt": URL_SAFE_NO_PAD.encode(stretch),
                },
                "sealed": URL_SAFE_NO_PAD.encode(&sealed.0),
            }),
            root: Some(root),
            salt: Some(salt),
            context: Some(Hex(context)),
            scope,
            id,
            key: Some(key),
            wrapped,
        }
    }

    fn refused(&self, comment: &str, change: impl FnOnce(&mut Self)) -> Self {
        let mut test = self.clone();
        test.comment = comment.to_owned();
        test.valid = false;
        (test.salt, test.key, test.context) = (None, None, None);
        test.root = None;
        change(&mut test);
        test
    }
}

fn rings() -> Vec<Ring> {
    let one = Ring::new("the cheapest cost", PASSPHRASE, [1024, 1, 1]);
    let two = Ring::new(
        "another cost, and letters beyond ASCII",
        "Grüße, 世界",
        [2048, 2, 2],
    );
    let changed = |pointer: &str, value: Value| {
        let mut keyring = one.keyring.clone();
        *keyring.pointer_mut(pointer).unwrap() = value;
        keyring
    };
    let sealed = one.keyring["sealed"].as_str().unwrap();
    let mut sealed = URL_SAFE_NO_PAD.decode(sealed).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    let salt = URL_SAFE_NO_PAD.encode(counted::<16>(0x31));
    vec![
        one.clone(),
        two,
        one.refused("another passphrase", |test| test.passphrase.push(' ')),
        one.refused("another name", |test| {
            test.keyring = changed("/id", json!("keyring:87ff8d64367a9c02"));
        }),
        one.refused("another salt", |test| {
            test.keyring = changed("/kdf/salt", json!(salt));
        }),
        one.refused("another cost", |test| {
            test.keyring = changed("/kdf/passes", json!(2));
        }),
        one.refused("a cost beyond the bounds", |test| {
            test.keyring = changed("/kdf/memory_kib", json!(1_048_577));
        }),
        one.refused("a bit of the last byte is flipped", |test| {
            test.keyring = changed("/sealed", json!(URL_SAFE_NO_PAD.encode(&sealed)));
        }),
        one.refused("a version that nobody knows", |test| {
            test.keyring = changed("/version", json!(3));
        }),
        one.refused("another algorithm", |test| {
            test.keyring = changed("/kdf/algorithm", json!("argon2i"));
        }),
    ]
}

/// A key for names, derived from the scope's MAC key.
#[derive(Serialize, Deserialize)]
struct MacKey {
    comment: String,
    key: Hex,
    scope: Hex,
    label: String,
    mac_key: Hex,
}

impl MacKey {
    fn derive(&self) -> Hex {
        let key = InputKey::new(&KeyBytes::copy_from(&self.key.0).unwrap());
        let derived = derive_mac_key(&key, &scope_of(&self.scope), &self.label);
        Hex::from(&derived.unwrap().expose()[..])
    }
}

fn mac_keys() -> Vec<MacKey> {
    let cases = [
        ("of a tenant", ours(), "storage/urls/v1"),
        (
            "of another tenant",
            Hex::from(scope_bytes(&Some(tenant(OTHER)))),
            "storage/urls/v1",
        ),
        (
            "of the system",
            Hex::from(scope_bytes(&None)),
            "storage/urls/v1",
        ),
        ("another label", ours(), "cache/names/v1"),
        ("an empty label", ours(), ""),
    ];
    let tests = cases.into_iter().map(|(comment, scope, label)| {
        let mut test = MacKey {
            comment: comment.to_owned(),
            key: Hex::from(&counted::<32>(0x10)[..]),
            scope,
            label: label.to_owned(),
            mac_key: Hex::default(),
        };
        test.mac_key = test.derive();
        test
    });
    tests.collect()
}

pub(super) fn files() -> Vec<(&'static str, String)> {
    vec![
        (
            "data-key.json",
            render("Data keys wrapped under a key-encryption key.", data_keys()),
        ),
        (
            "key-encryption-key.json",
            render(
                "Key-encryption keys under a root key in a key file.",
                wrapping_keys(),
            ),
        ),
        (
            "keyring.json",
            render("Keyrings, and a key-encryption key under each.", rings()),
        ),
        (
            "mac-key.json",
            render("Keys derived from a MAC key.", mac_keys()),
        ),
    ]
}

fn counts(valid: impl Iterator<Item = bool>) -> (usize, usize) {
    valid.fold((0, 0), |(fit, not), valid| match valid {
        true => (fit + 1, not),
        false => (fit, not + 1),
    })
}

#[test]
fn every_data_key_unwraps_as_its_vector_says() {
    let tests: Vec<DataKey> = read("data-key.json");
    assert_eq!(counts(tests.iter().map(|test| test.valid)), (4, 12));
    for test in &tests {
        assert_eq!(test.unwrap(), test.key, "{}", test.comment);
        assert_eq!(test.key.is_some(), test.valid, "{}", test.comment);
        if let Some(suite) = &test.suite {
            let (_, told) = split_role(&test.role);
            assert_eq!(told.as_str(), suite, "{}", test.comment);
        }
        if let Some(context) = &test.context {
            assert_eq!(context.0, test.context_bytes(), "{}", test.comment);
        }
    }
}

fn private(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

async fn unwrapped(root: &dyn RootKey, scope_bytes: &Hex, id: &Hex, wrapped: &Hex) -> Option<Hex> {
    let context = WrapContext {
        scope: scope(scope_bytes),
        key: key_id(id),
    };
    let key = root.unwrap(&wrapped.0, &context).await.ok()?;
    Some(Hex::from(&key.expose()[..]))
}

#[tokio::test]
async fn every_key_encryption_key_unwraps_as_its_vector_says() {
    let tests: Vec<WrappingKey> = read("key-encryption-key.json");
    assert_eq!(counts(tests.iter().map(|test| test.valid)), (2, 9));
    for test in &tests {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.key");
        private(&path, &test.key_file.to_string());
        let root = KeyFile::open_or_generate(&path).await.unwrap();
        let key = unwrapped(&root, &test.scope, &test.id, &test.wrapped).await;
        assert_eq!(key, test.key, "{}", test.comment);
        assert_eq!(test.key.is_some(), test.valid, "{}", test.comment);
    }
}

#[tokio::test]
async fn every_keyring_opens_as_its_vector_says() {
    let tests: Vec<Ring> = read("keyring.json");
    assert_eq!(counts(tests.iter().map(|test| test.valid)), (2, 8));
    for test in &tests {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.json");
        private(&path, &test.keyring.to_string());
        let root = Keyring::open(&path, &SecretText::new(test.passphrase.clone())).await;
        assert_eq!(root.is_ok(), test.valid, "{}", test.comment);
        if let Ok(root) = root {
            let key = unwrapped(&root, &test.scope, &test.id, &test.wrapped).await;
            assert_eq!(key, test.key, "{}", test.comment);
        }
    }
}

#[test]
fn every_mac_key_comes_out_as_its_vector_says() {
    let tests: Vec<MacKey> = read("mac-key.json");
    assert_eq!(tests.len(), 5);
    for test in &tests {
        assert_eq!(test.derive(), test.mac_key, "{}", test.comment);
    }
}
