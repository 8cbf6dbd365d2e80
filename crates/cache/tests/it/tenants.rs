//! A key belongs to one tenant.

use bytes::Bytes;
use eonpro_cache::{Cache as _, CacheError, CacheExt as _, EntryOptions, Key, WorkError};
use eonpro_core::event::{FieldValue, Outcome};
use eonpro_core::{Classify as _, ErrorKind};

use crate::bed::{Bed, CHARTS, ObedientTier};

async fn never() -> Result<Option<Bytes>, WorkError> {
    panic!("this work must not run")
}

#[tokio::test]
async fn every_use_of_a_foreign_key_is_refused_and_recorded() {
    let bed = Bed::memory();
    bed.compute("a", "ours").await.unwrap();
    let (key, options) = (bed.key("a"), EntryOptions::default());
    let cache = &bed.cache;
    let refusals = [
        cache.get(&bed.theirs, &key).await.err(),
        cache
            .get_or_compute(&bed.theirs, &key, &options, never)
            .await
            .err(),
        cache
            .put(&bed.theirs, &key, Bytes::new(), &options)
            .await
            .err(),
        cache.invalidate(&bed.theirs, &key).await.err(),
    ];
    for refused in refusals {
        let refused = refused.unwrap();
        assert!(matches!(refused, CacheError::TenantMismatch));
        assert_eq!(refused.kind(), ErrorKind::TenantMismatch);
        assert_eq!(refused.public_message(), "not found");
    }
    assert_eq!(bed.sink.codes(), ["TEN-004"; 4]);
    for seen in bed.sink.events() {
        assert_eq!(seen.tenant, Some(bed.theirs.tenant()));
        assert_eq!(seen.event.outcome(), Outcome::Minor);
        let field = |name: &str| {
            let fields = seen.event.fields();
            fields
                .iter()
                .find(|(found, _)| *found == name)
                .unwrap()
                .1
                .clone()
        };
        let (theirs, ours) = (bed.theirs.tenant(), bed.ours.tenant());
        assert_eq!(field("actor_tenant"), FieldValue::Tenant(theirs));
        assert_eq!(field("target_tenant"), FieldValue::Tenant(ours));
        assert!(matches!(&field("layer"), FieldValue::Code(code) if code.as_str() == "cache"));
        assert!(matches!(field("object"), FieldValue::Object(_)));
    }
    assert_eq!(bed.peek("a").as_deref(), Some(b"ours".as_slice()));
}

#[tokio::test]
async fn a_peek_with_a_foreign_key_finds_nothing_and_is_counted() {
    let bed = Bed::memory();
    bed.compute("a", "ours").await.unwrap();
    assert_eq!(bed.cache.peek(&bed.theirs, &bed.key("a")), None);
    assert_eq!(bed.cache.stats().foreign_peeks, 1);
}

#[tokio::test]
async fn a_refusal_that_cannot_be_recorded_is_still_a_refusal() {
    let bed = Bed::memory();
    bed.compute("a", "ours").await.unwrap();
    bed.sink.set_down(true);
    let refused = bed.cache.get(&bed.theirs, &bed.key("a")).await;
    assert!(matches!(refused, Err(CacheError::Unaudited(_))));
}

#[tokio::test]
async fn the_same_key_of_two_tenants_names_two_entries() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    let theirs = Key::new(&bed.theirs, CHARTS, b"a").unwrap();
    bed.compute("a", "ours").await.unwrap();
    let found = bed.cache.get(&bed.theirs, &theirs).await.unwrap();
    assert_eq!(found, None);
}

#[tokio::test]
async fn clearing_a_tenant_leaves_the_others_in_both_tiers() {
    let tier = ObedientTier::new();
    let bed = Bed::on(tier.clone());
    let theirs = Key::new(&bed.theirs, CHARTS, b"a").unwrap();
    let options = EntryOptions::default();
    for (scope, key) in [(&bed.ours, bed.key("a")), (&bed.theirs, theirs)] {
        let value = Bytes::from_static(b"value");
        bed.cache.put(scope, &key, value, &options).await.unwrap();
    }
    bed.cache.clear_tenant(&bed.ours).await.unwrap();
    assert_eq!(bed.peek("a"), None);
    assert!(bed.cache.peek(&bed.theirs, &theirs).is_some());
    let names = tier.names();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].0, bed.theirs.tenant());
}
