//! The durable tier: seals, names, and what a reopened file may still say.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use eonpro_cache::{
    Cache as _, DurableTier as _, EntryName, EntryOptions, Guard, Key, Origin, RedbTier,
    RedbTierConfig, SealedEntry,
};
use eonpro_core::component::Component as _;
use eonpro_core::digest::Digest;
use eonpro_core::pae;
use eonpro_core::phi::{Cell, Column, Row, Table};
use eonpro_core::port::{KeyPurpose, SealScope, Sealer as _};
use eonpro_core::time::{Clock as _, ManualClock};
use tempfile::TempDir;

use crate::bed::{Bed, CHARTS, ObedientTier};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.redb");
    (folder, path)
}

fn tier(path: &Path, clock: &ManualClock) -> Arc<RedbTier> {
    let config = RedbTierConfig::default();
    Arc::new(RedbTier::open(path, Arc::new(clock.clone()), config).unwrap())
}

/// A bed whose clock the tier shares.
fn bed_on(path: &Path) -> Bed {
    let bed = Bed::memory();
    let cache = bed.restarted_on(tier(path, &bed.clock));
    Bed { cache, ..bed }
}

async fn stored(bed: &Bed, name: &str, value: &'static [u8]) {
    let options = EntryOptions::default();
    let value = Bytes::from_static(value);
    bed.cache
        .put(&bed.ours, &bed.key(name), value, &options)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_entry_survives_a_clean_restart() {
    let (_folder, path) = folder();
    let bed = bed_on(&path);
    bed.compute("a", "value").await.unwrap();
    bed.close().await;
    let again = bed.restarted_on(tier(&path, &bed.clock));
    let found = again.get(&bed.ours, &bed.key("a")).await.unwrap();
    assert_eq!(found.as_deref(), Some(b"value".as_slice()));
    assert_eq!(again.stats().durable_hits, 1);
    assert!(again.peek(&bed.ours, &bed.key("a")).is_some());
}

#[tokio::test]
async fn after_an_unclean_end_the_tier_starts_empty() {
    let (_folder, path) = folder();
    let mut bed = bed_on(&path);
    stored(&bed, "a", b"value").await;
    // The only cache on the tier goes, and nobody closed it.
    bed.cache = Bed::memory().cache;
    let again = bed.restarted_on(tier(&path, &bed.clock));
    let found = again.get(&bed.ours, &bed.key("a")).await.unwrap();
    assert_eq!(found, None);
}

#[tokio::test]
async fn what_was_removed_or_cleared_is_gone_after_a_restart() {
    let (_folder, path) = folder();
    let bed = bed_on(&path);
    for name in ["a", "b", "c"] {
        stored(&bed, name, b"value").await;
    }
    bed.cache
        .invalidate(&bed.ours, &bed.key("a"))
        .await
        .unwrap();
    bed.close().await;
    let again = bed.restarted_on(tier(&path, &bed.clock));
    assert_eq!(again.get(&bed.ours, &bed.key("a")).await.unwrap(), None);
    assert!(again.get(&bed.ours, &bed.key("b")).await.unwrap().is_some());
    again.clear_tenant(&bed.ours).await.unwrap();
    again.close().await;
    let again = bed.restarted_on(tier(&path, &bed.clock));
    for name in ["b", "c"] {
        assert_eq!(again.get(&bed.ours, &bed.key(name)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn clearing_on_disk_leaves_other_tenants_and_later_entries() {
    let (_folder, path) = folder();
    let bed = bed_on(&path);
    stored(&bed, "a", b"value").await;
    let theirs = Key::new(&bed.theirs, CHARTS, b"a").unwrap();
    let options = EntryOptions::default();
    let value = Bytes::from_static(b"theirs");
    bed.cache
        .put(&bed.theirs, &theirs, value, &options)
        .await
        .unwrap();
    bed.cache.clear_tenant(&bed.ours).await.unwrap();
    stored(&bed, "later", b"value").await;
    bed.close().await;
    let again = bed.restarted_on(tier(&path, &bed.clock));
    assert_eq!(again.get(&bed.ours, &bed.key("a")).await.unwrap(), None);
    assert!(again.get(&bed.theirs, &theirs).await.unwrap().is_some());
    let later = again.get(&bed.ours, &bed.key("later")).await.unwrap();
    assert!(later.is_some());
}

#[tokio::test]
async fn the_file_holds_neither_plaintext_nor_key_nor_digest() {
    let (_folder, path) = folder();
    let bed = bed_on(&path);
    let (name, value) = ("mrn-7741902", b"the patient is Grace Hopper".as_slice());
    stored(&bed, name, b"the patient is Grace Hopper").await;
    let tenant = bed.ours.tenant();
    // The digest that names the entry in memory, computed as the key documents it.
    let parts: [&[u8]; 4] = [
        b"eonpro/cache/key/v1",
        tenant.as_bytes(),
        b"charts",
        name.as_bytes(),
    ];
    let digest = Digest::of(&pae::encode(&parts));
    bed.close().await;
    let file = std::fs::read(&path).unwrap();
    let holds = |needle: &[u8]| file.windows(needle.len()).any(|part| part == needle);
    assert!(!holds(value));
    assert!(!holds(b"Grace"));
    assert!(!holds(name.as_bytes()));
    assert!(!holds(digest.as_bytes()));
    // The search itself works: the tenant's id is in the clear.
    assert!(holds(tenant.as_bytes()));
}

#[tokio::test]
async fn the_file_is_private() {
    let (_folder, path) = folder();
    let _bed = bed_on(&path);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_file_of_another_kind_is_replaced_and_one_in_use_is_not() {
    let (_folder, path) = folder();
    std::fs::write(&path, b"not a store").unwrap();
    let bed = bed_on(&path);
    stored(&bed, "a", b"value").await;
    let config = RedbTierConfig::default();
    let refused = RedbTier::open(&path, Arc::new(bed.clock.clone()), config);
    assert!(refused.is_err());
    bed.close().await;
    let again = bed.restarted_on(tier(&path, &bed.clock));
    assert!(again.get(&bed.ours, &bed.key("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn the_tier_gives_up_what_expires_first_when_it_is_full() {
    let (_folder, path) = folder();
    let bed = Bed::memory();
    let mut config = RedbTierConfig::default();
    config.max_bytes = 10_000;
    let tier = RedbTier::open(&path, Arc::new(bed.clock.clone()), config).unwrap();
    let cache = bed.restarted_on(Arc::new(tier));
    for number in 0..20_u64 {
        let ttl = Duration::from_secs(1_000 + number);
        let options = EntryOptions::default()
            .with_durable_ttl(ttl)
            .with_local_ttl(Duration::ZERO);
        let key = bed.key(&number.to_string());
        cache
            .put(&bed.ours, &key, Bytes::from(vec![7; 1_000]), &options)
            .await
            .unwrap();
    }
    let mut kept = Vec::new();
    for number in 0..20_u64 {
        let key = bed.key(&number.to_string());
        if cache.get(&bed.ours, &key).await.unwrap().is_some() {
            kept.push(number);
        }
    }
    assert!(!kept.is_empty() && kept.len() < 10, "{kept:?}");
    assert!(kept.iter().all(|number| *number > 10), "{kept:?}");
}

#[tokio::test]
async fn a_sealed_value_moved_to_another_key_is_a_miss_and_is_deleted() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    stored(&bed, "a", b"value of a").await;
    let [a] = tier.names().try_into().unwrap();
    stored(&bed, "b", b"value of b").await;
    let b = tier.names().into_iter().find(|name| *name != a).unwrap();
    {
        let mut entries = tier.entries.lock().unwrap();
        let moved = entries[&a].clone();
        entries.insert(b, moved);
    }
    let again = bed.restarted_on(tier.clone());
    assert_eq!(again.get(&bed.ours, &bed.key("b")).await.unwrap(), None);
    assert_eq!(again.stats().durable_rejected, 1);
    assert_eq!(tier.names(), [a]);
    assert!(again.get(&bed.ours, &bed.key("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_changed_byte_or_another_expiry_does_not_prolong_an_entry() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    let options = EntryOptions::default().with_durable_ttl(Duration::from_secs(10));
    let value = Bytes::from_static(b"value");
    bed.cache
        .put(&bed.ours, &bed.key("a"), value, &options)
        .await
        .unwrap();
    tier.change(|entry| entry.expires = entry.expires.plus(Duration::from_secs(1_000)));
    bed.clock.advance(Duration::from_secs(10));
    let again = bed.restarted_on(tier.clone());
    assert_eq!(again.get(&bed.ours, &bed.key("a")).await.unwrap(), None);
    tier.change(|entry| {
        let mut sealed = entry.sealed.to_vec();
        *sealed.last_mut().unwrap() ^= 1;
        entry.sealed = sealed.into();
    });
    assert_eq!(again.get(&bed.ours, &bed.key("a")).await.unwrap(), None);
    assert_eq!(again.stats().durable_rejected, 1);
    assert_eq!(tier.names(), []);
}

#[tokio::test]
async fn an_envelope_of_an_unknown_version_is_a_miss_and_is_deleted() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    stored(&bed, "a", b"value").await;
    let [(_, EntryName(name))] = tier.names().try_into().unwrap();
    let row = Row::named(&name).unwrap();
    let cell = Cell::new(Table::new("charts"), Column::new("value"), row);
    let scope = SealScope::from(&bed.ours);
    let sealed = bed
        .sealer
        .seal(
            scope,
            KeyPurpose::CACHE,
            &cell,
            &[[2_u8].as_slice(), &[0; 40]].concat(),
        )
        .await
        .unwrap();
    tier.change(|entry| entry.sealed = sealed.into());
    let again = bed.restarted_on(tier.clone());
    assert_eq!(again.get(&bed.ours, &bed.key("a")).await.unwrap(), None);
    assert_eq!(again.stats().durable_rejected, 1);
    assert_eq!(tier.names(), []);
}

#[tokio::test]
async fn keys_out_of_reach_are_a_miss_and_the_entry_stays() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    stored(&bed, "a", b"value").await;
    let again = bed.restarted_on(tier.clone());
    // Once while the name is derived, once while the value is opened.
    for _ in 0..2 {
        bed.sealer.fail_next(1);
        assert_eq!(again.get(&bed.ours, &bed.key("a")).await.unwrap(), None);
    }
    assert!(again.get(&bed.ours, &bed.key("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn shredded_keys_close_the_entry_for_good() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    stored(&bed, "a", b"value").await;
    let again = bed.restarted_on(tier.clone());
    bed.sealer
        .destroy_scope(SealScope::from(&bed.ours))
        .await
        .unwrap();
    assert_eq!(again.get(&bed.ours, &bed.key("a")).await.unwrap(), None);
    // Computing goes on without the tier.
    let cache = Bed {
        cache: again,
        ..bed
    };
    let fetched = cache.compute("a", "computed").await.unwrap();
    assert_eq!(fetched.origin, Origin::Computed);
}

#[tokio::test]
async fn a_put_is_judged_by_its_guard_when_it_is_written() {
    let (_folder, path) = folder();
    let bed = Bed::memory();
    let on_disk = tier(&path, &bed.clock);
    // Any guard will do: this one is taken from a put that a double hands over.
    let catcher = Arc::new(GuardCatcher::default());
    let cache = bed.restarted_on(catcher.clone());
    let key = bed.key("a");
    let options = EntryOptions::default();
    let value = Bytes::from_static(b"value");
    cache
        .put(&bed.ours, &key, value.clone(), &options)
        .await
        .unwrap();
    let (name, entry, guard) = catcher.caught.lock().unwrap().take().unwrap();
    let write = |guard: Guard| on_disk.put(&bed.ours, &name, entry.clone(), guard);
    write(guard.clone()).await.unwrap();
    assert!(on_disk.get(&bed.ours, &name).await.unwrap().is_some());
    on_disk.remove(&bed.ours, &name).await.unwrap();
    cache.invalidate(&bed.ours, &key).await.unwrap();
    write(guard).await.unwrap();
    assert_eq!(on_disk.get(&bed.ours, &name).await.unwrap(), None);
    assert!(bed.clock.wall() < entry.expires);
}

/// Keeps what was put last.
#[derive(Debug, Default)]
struct GuardCatcher {
    caught: std::sync::Mutex<Option<(EntryName, SealedEntry, Guard)>>,
}

#[async_trait::async_trait]
impl eonpro_core::component::Component for GuardCatcher {
    fn name(&self) -> &'static str {
        "guard-catcher"
    }

    fn posture(&self) -> eonpro_core::component::Posture {
        eonpro_core::component::Posture::STRONGEST
    }

    async fn health(&self) -> eonpro_core::component::Health {
        eonpro_core::component::Health::Healthy
    }

    async fn close(&self) {}
}

#[async_trait::async_trait]
impl eonpro_cache::DurableTier for GuardCatcher {
    async fn get(
        &self,
        _: &eonpro_core::TenantScope,
        _: &EntryName,
    ) -> Result<Option<SealedEntry>, eonpro_cache::TierError> {
        Ok(None)
    }

    async fn put(
        &self,
        _: &eonpro_core::TenantScope,
        name: &EntryName,
        entry: SealedEntry,
        guard: Guard,
    ) -> Result<(), eonpro_cache::TierError> {
        *self.caught.lock().unwrap() = Some((*name, entry, guard));
        Ok(())
    }

    async fn remove(
        &self,
        _: &eonpro_core::TenantScope,
        _: &EntryName,
    ) -> Result<(), eonpro_cache::TierError> {
        Ok(())
    }

    async fn clear(&self, _: &eonpro_core::TenantScope) -> Result<(), eonpro_cache::TierError> {
        Ok(())
    }
}
