//! A sealer that really seals, with keys that live in memory: for tests of whatever needs one.
//!
//! AES-256-GCM (NIST SP 800-38D) under a random key per scope and purpose, with a random 96-bit
//! nonce and the PAE of scope, purpose and cell as additional data. Not encryption's format.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use eonpro_core::TenantScope;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::pae;
use eonpro_core::phi::Cell;
use eonpro_core::port::{
    DataKey, DestroyedScope, KeyPurpose, SealError, SealScope, Sealer, WrappedKey,
};
use eonpro_core::secret::{KeyBytes, SecretBytes};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

const FORMAT: u8 = 0x7e;
const STANDARD: [KeyPurpose; 7] = [
    KeyPurpose::RECORDS,
    KeyPurpose::SEARCH,
    KeyPurpose::FILES,
    KeyPurpose::QUARANTINE,
    KeyPurpose::CACHE,
    KeyPurpose::AUDIT,
    KeyPurpose::STATE,
];

/// A sealer that really seals, with keys that live in memory.
///
/// Strict like the real one: a scope that was not provisioned is [`SealError::UnknownKey`].
#[derive(Default)]
pub struct TestSealer(Mutex<State>);

#[derive(Default)]
struct State {
    scopes: HashMap<SealScope, Scope>,
    failures: usize,
    /// How many calls there are before the one that fails.
    fails_after: Option<usize>,
    calls: usize,
}

enum Scope {
    Live(Live),
    Shredded,
}

struct Live {
    master: KeyBytes<32>,
    further: HashSet<KeyPurpose>,
}

impl TestSealer {
    /// A sealer without any scope.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A sealer with the system's scope and those of the given tenants provisioned.
    #[must_use]
    pub fn ready_for(scopes: &[&TenantScope]) -> Arc<Self> {
        let sealer = Self::new();
        sealer.provision_now(SealScope::System);
        for scope in scopes {
            sealer.provision_now(SealScope::from(*scope));
        }
        sealer
    }

    /// Provisions `scope` at once. A destroyed scope stays destroyed.
    pub fn provision_now(&self, scope: SealScope) {
        self.state().scopes.entry(scope).or_insert_with(|| {
            Scope::Live(Live {
                master: fresh_key(),
                further: HashSet::new(),
            })
        });
    }

    /// Lets the next `calls` fail as if the key backend were down.
    pub fn fail_next(&self, calls: usize) {
        self.state().failures = calls;
    }

    /// Lets `calls` go well and the one after them fail.
    pub fn fail_after(&self, calls: usize) {
        self.state().fails_after = Some(calls);
    }

    /// How many operations were asked for.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.state().calls
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, scope: SealScope, label: &str) -> Result<KeyBytes<32>, SealError> {
        let mut state = self.state();
        state.calls += 1;
        if state.failures > 0 {
            state.failures -= 1;
            return Err(SealError::Backend("the test lets it fail".into()));
        }
        let left = state.fails_after.take();
        state.fails_after = left.and_then(|left| left.checked_sub(1));
        if left == Some(0) {
            return Err(SealError::Backend("the test lets it fail".into()));
        }
        match state.scopes.get(&scope) {
            None => Err(SealError::UnknownKey),
            Some(Scope::Shredded) => Err(SealError::Shredded),
            Some(Scope::Live(live)) => {
                let master = hmac::Key::new(hmac::HMAC_SHA256, live.master.expose());
                let derived = hmac::sign(&master, label.as_bytes());
                KeyBytes::copy_from(derived.as_ref()).ok_or(SealError::Malformed)
            }
        }
    }

    fn purpose_key(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
    ) -> Result<KeyBytes<32>, SealError> {
        let known = STANDARD.contains(&purpose);
        if let (false, Some(Scope::Live(live))) = (known, self.state().scopes.get_mut(&scope)) {
            live.further.insert(purpose);
        }
        self.key(scope, &format!("purpose/{}", purpose.as_str()))
    }
}

impl fmt::Debug for TestSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestSealer")
    }
}

fn fresh_key() -> KeyBytes<32> {
    let mut bytes = [0; 32];
    // The system call fails only before the kernel's pool is initialized.
    while SystemRandom::new().fill(&mut bytes).is_err() {
        std::thread::yield_now();
    }
    KeyBytes::take(&mut bytes)
}

fn aad(part: &str, cell: &Cell<'_>) -> Vec<u8> {
    pae::encode(&[
        b"eonpro/test-sealer/v1",
        part.as_bytes(),
        cell.table().as_str().as_bytes(),
        cell.column().as_str().as_bytes(),
        cell.row().as_bytes(),
    ])
}

fn cipher(key: &KeyBytes<32>) -> Result<LessSafeKey, SealError> {
    UnboundKey::new(&AES_256_GCM, key.expose())
        .map(LessSafeKey::new)
        .map_err(|_| SealError::Malformed)
}

fn seal_with(
    key: &KeyBytes<32>,
    part: &str,
    cell: &Cell<'_>,
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| SealError::Backend("no randomness".into()))?;
    let mut body = plaintext.to_vec();
    cipher(key)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad(part, cell)),
            &mut body,
        )
        .map_err(|_| SealError::LimitExceeded)?;
    let mut sealed = Vec::with_capacity(1 + NONCE_LEN + body.len());
    sealed.push(FORMAT);
    sealed.extend_from_slice(&nonce);
    sealed.append(&mut body);
    Ok(sealed)
}

fn open_with(
    key: &KeyBytes<32>,
    part: &str,
    cell: &Cell<'_>,
    sealed: &[u8],
) -> Result<SecretBytes, SealError> {
    let rest = match sealed.split_first() {
        Some((&FORMAT, rest)) => rest,
        _ => return Err(SealError::Malformed),
    };
    let (nonce, body) = rest
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(SealError::Malformed)?;
    let mut body = SecretBytes::new(body.to_vec());
    let length = cipher(key)?
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(aad(part, cell)),
            &mut body,
        )
        .map_err(|_| SealError::Authentication)?
        .len();
    body.truncate(length);
    Ok(body)
}

struct TestDataKey(KeyBytes<32>);

impl fmt::Debug for TestDataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestDataKey")
    }
}

impl DataKey for TestDataKey {
    fn seal(&self, cell: &Cell<'_>, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        seal_with(&self.0, "data", cell, plaintext)
    }

    fn open(&self, cell: &Cell<'_>, sealed: &[u8]) -> Result<SecretBytes, SealError> {
        open_with(&self.0, "data", cell, sealed)
    }
}

#[async_trait]
impl Component for TestSealer {
    fn name(&self) -> &'static str {
        "test-sealer"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Volatile,
            crypto: Validation::NotValidated,
            fitness: Fitness::TestOnly,
        }
    }

    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self) {}
}

#[async_trait]
impl Sealer for TestSealer {
    async fn provision(&self, scope: SealScope) -> Result<(), SealError> {
        self.provision_now(scope);
        self.key(scope, "provision").map(drop)
    }

    async fn seal(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        seal_with(&self.purpose_key(scope, purpose)?, "value", cell, plaintext)
    }

    async fn open(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError> {
        open_with(&self.purpose_key(scope, purpose)?, "value", cell, sealed)
    }

    async fn data_key(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
    ) -> Result<(Arc<dyn DataKey>, WrappedKey), SealError> {
        let wrapping = self.purpose_key(scope, purpose)?;
        let key = fresh_key();
        let wrapped = seal_with(&wrapping, "wrap", cell, key.expose())?;
        Ok((Arc::new(TestDataKey(key)), WrappedKey(wrapped)))
    }

    async fn unwrap(
        &self,
        scope: SealScope,
        purpose: KeyPurpose,
        cell: &Cell<'_>,
        wrapped: &WrappedKey,
    ) -> Result<Arc<dyn DataKey>, SealError> {
        let wrapping = self.purpose_key(scope, purpose)?;
        let key = open_with(&wrapping, "wrap", cell, &wrapped.0)?;
        let key = KeyBytes::copy_from(&key).ok_or(SealError::Malformed)?;
        Ok(Arc::new(TestDataKey(key)))
    }

    async fn rewrap(
        &self,
        scope: SealScope,
        from: KeyPurpose,
        to: KeyPurpose,
        cell: &Cell<'_>,
        wrapped: &WrappedKey,
    ) -> Result<WrappedKey, SealError> {
        let key = open_with(&self.purpose_key(scope, from)?, "wrap", cell, &wrapped.0)?;
        seal_with(&self.purpose_key(scope, to)?, "wrap", cell, &key).map(WrappedKey)
    }

    async fn mac_key(
        &self,
        scope: SealScope,
        label: &'static str,
    ) -> Result<KeyBytes<32>, SealError> {
        self.key(scope, &format!("mac/{label}"))
    }

    async fn destroy_scope(&self, scope: SealScope) -> Result<DestroyedScope, SealError> {
        self.key(scope, "destroy")
            .map(drop)
            .or_else(|error| match error {
                SealError::Shredded | SealError::UnknownKey => Ok(()),
                other => Err(other),
            })?;
        let before = self.state().scopes.insert(scope, Scope::Shredded);
        let keys = match before {
            Some(Scope::Live(live)) => STANDARD.len() + live.further.len(),
            Some(Scope::Shredded) | None => 0,
        };
        Ok(DestroyedScope {
            keys: keys as u64,
            exposure: Duration::ZERO,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope;
    use eonpro_core::phi::{Column, Row, Table};

    fn cell(row: &[u8]) -> Cell<'_> {
        Cell::new(
            Table::new("patients"),
            Column::new("ssn"),
            Row::named(row).unwrap(),
        )
    }

    #[tokio::test]
    async fn a_value_opens_only_in_its_own_scope_purpose_and_cell() {
        let (ours, theirs) = (scope(1), scope(2));
        let sealer = TestSealer::ready_for(&[&ours, &theirs]);
        let (ours, theirs) = (SealScope::from(&ours), SealScope::from(&theirs));
        let sealed = sealer
            .seal(ours, KeyPurpose::RECORDS, &cell(b"a"), b"secret")
            .await
            .unwrap();
        let opened = sealer
            .open(ours, KeyPurpose::RECORDS, &cell(b"a"), &sealed)
            .await
            .unwrap();
        assert_eq!(opened.as_slice(), b"secret");
        for (scope, purpose, row) in [
            (theirs, KeyPurpose::RECORDS, b"a"),
            (ours, KeyPurpose::CACHE, b"a"),
            (ours, KeyPurpose::RECORDS, b"b"),
        ] {
            let refused = sealer.open(scope, purpose, &cell(row), &sealed).await;
            assert!(matches!(refused, Err(SealError::Authentication)));
        }
    }

    #[tokio::test]
    async fn a_rewrapped_key_opens_what_the_first_one_sealed() {
        let ours = scope(1);
        let sealer = TestSealer::ready_for(&[&ours]);
        let ours = SealScope::from(&ours);
        let (from, to) = (KeyPurpose::QUARANTINE, KeyPurpose::FILES);
        let (key, wrapped) = sealer.data_key(ours, from, &cell(b"d")).await.unwrap();
        let part = key.seal(&cell(b"d/0"), b"part").unwrap();
        let moved = sealer
            .rewrap(ours, from, to, &cell(b"d"), &wrapped)
            .await
            .unwrap();
        let refused = sealer.unwrap(ours, from, &cell(b"d"), &moved).await;
        assert!(matches!(refused, Err(SealError::Authentication)));
        let key = sealer.unwrap(ours, to, &cell(b"d"), &moved).await.unwrap();
        assert_eq!(key.open(&cell(b"d/0"), &part).unwrap().as_slice(), b"part");
    }

    #[tokio::test]
    async fn a_destroyed_scope_opens_nothing_and_cannot_be_provisioned_again() {
        let (ours, theirs) = (scope(1), scope(2));
        let sealer = TestSealer::ready_for(&[&ours, &theirs]);
        let (ours, theirs) = (SealScope::from(&ours), SealScope::from(&theirs));
        sealer.destroy_scope(ours).await.unwrap();
        assert!(matches!(
            sealer.provision(ours).await,
            Err(SealError::Shredded)
        ));
        assert!(matches!(
            sealer.mac_key(ours, "x").await,
            Err(SealError::Shredded)
        ));
        assert!(sealer.mac_key(theirs, "x").await.is_ok());
    }

    #[tokio::test]
    async fn a_scope_that_nobody_provisioned_has_no_keys() {
        let sealer = TestSealer::new();
        let refused = sealer.mac_key(SealScope::System, "x").await;
        assert!(matches!(refused, Err(SealError::UnknownKey)));
    }
}
