//! Signed URLs: what they grant, how often, for how long, and that nothing else is granted.

use std::time::Duration;

use eonpro_core::event::{Code, FieldValue};
use eonpro_storage::{
    Category, DocumentStore, DocumentStoreExt, Expect, GrantSpec, Method, StorageError, UrlPurpose,
};

use crate::support::{NOTE, World, note};

#[tokio::test]
async fn a_url_opens_its_version_and_the_log_ties_the_download_to_it() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    let at = stored.document.into();
    let url = world
        .documents
        .grant(&world.ours, &at, GrantSpec::default())
        .await
        .unwrap();
    // A later version does not change what was granted.
    let new = note().on(Expect::Any(stored.document));
    world
        .documents
        .put(&world.ours, new, "later".into())
        .await
        .unwrap();
    let redeemed = world
        .documents
        .redeem(&world.ours, url.path.expose(), Method::Get)
        .await
        .unwrap();
    assert_eq!(redeemed.purpose, UrlPurpose::Download);
    let read = world
        .documents
        .read(&world.ours, &redeemed.at, 1 << 20)
        .await
        .unwrap();
    assert_eq!(read.as_slice(), NOTE);
    assert_eq!(
        world.audit.codes(),
        ["FILE-001", "FILE-004", "FILE-001", "FILE-002"]
    );
    let grant = FieldValue::Uuid(url.grant);
    for index in [1, 3] {
        let events = world.audit.events();
        assert!(
            events[index]
                .event
                .fields()
                .contains(&("grant", grant.clone()))
        );
    }
}

#[tokio::test]
async fn a_url_tells_no_name_and_no_tenant() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    let at = stored.document.into();
    let url = world
        .documents
        .grant(&world.ours, &at, GrantSpec::default())
        .await
        .unwrap();
    let url = url.path.expose();
    assert!(!url.contains("miller"));
    assert!(!url.contains(&world.ours.tenant().uuid().simple().to_string()));
}

#[tokio::test]
async fn a_url_ends_at_its_time_and_never_lives_longer_than_its_category_allows() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    let at = stored.document.into();
    let minute = Duration::from_secs(60);
    for lifetime in [
        minute * 5 + Duration::from_secs(1),
        Duration::ZERO,
        minute * 60 * 24 * 8,
    ] {
        let spec = GrantSpec::default().lasting(lifetime);
        let refused = world.documents.grant(&world.ours, &at, spec).await;
        assert!(
            matches!(refused, Err(StorageError::UrlLifetime { .. })),
            "{lifetime:?}"
        );
    }
    let spec = GrantSpec::default().lasting(minute);
    let url = world.documents.grant(&world.ours, &at, spec).await.unwrap();
    world.clock.advance(Duration::from_secs(59));
    let redeem = || {
        world
            .documents
            .redeem(&world.ours, url.path.expose(), Method::Get)
    };
    assert!(redeem().await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert!(matches!(redeem().await, Err(StorageError::UrlRefused)));
}

#[tokio::test]
async fn a_tampered_url_is_one_and_the_same_error() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    let other = world.note(b"other").await.unwrap();
    let at = stored.document.into();
    let url = world
        .documents
        .grant(&world.ours, &at, GrantSpec::default())
        .await
        .unwrap();
    let url = url.path.expose();
    let simple = |id: String| id.replace('-', "");
    let swap = |from: String, to: String| url.replace(&simple(from), &simple(to));
    let part = |name: &str| {
        let start = url.find(name).unwrap() + name.len();
        url[start..].split('&').next().unwrap().to_owned()
    };
    let mut flipped = url.to_owned();
    let last = flipped.pop().unwrap();
    flipped.push(if last == 'A' { 'E' } else { 'A' });
    for changed in [
        swap(stored.document.to_string(), other.document.to_string()),
        swap(stored.version.to_string(), other.version.to_string()),
        url.replace(&format!("e={}", part("e=")), "e=9999999999"),
        url.replace(&format!("k={}", part("k=")), "k=1"),
        url.replace(
            &format!("g={}", part("g=")),
            "g=AQIBAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        url.replace(&format!("s={}", part("s=")), "s="),
        flipped,
        String::new(),
    ] {
        assert_ne!(changed, url);
        let refused = world
            .documents
            .redeem(&world.ours, &changed, Method::Get)
            .await;
        assert!(
            matches!(refused, Err(StorageError::UrlRefused)),
            "{changed}"
        );
    }
    let refused = world.documents.redeem(&world.ours, url, Method::Post).await;
    assert!(matches!(refused, Err(StorageError::UrlRefused)));
    assert!(
        world
            .documents
            .redeem(&world.ours, url, Method::Get)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn another_tenants_url_is_refused_and_recorded() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    let at = stored.document.into();
    let url = world
        .documents
        .grant(&world.ours, &at, GrantSpec::default())
        .await
        .unwrap();
    let refused = world
        .documents
        .redeem(&world.theirs, url.path.expose(), Method::Get)
        .await;
    assert!(matches!(refused, Err(StorageError::TenantMismatch)));
    assert_eq!(world.audit.count("TEN-004"), 1);
}

#[tokio::test]
async fn a_single_use_url_works_once_even_if_only_the_category_says_so() {
    let world = World::new().await;
    let mut restricted = note();
    restricted.category = Category::RestrictedRecord;
    let restricted = world
        .documents
        .put(&world.ours, restricted, NOTE.into())
        .await
        .unwrap();
    let plain = world.note(NOTE).await.unwrap();
    for (document, spec) in [
        (restricted.document, GrantSpec::default()),
        (plain.document, GrantSpec::default().once()),
    ] {
        let url = world
            .documents
            .grant(&world.ours, &document.into(), spec)
            .await
            .unwrap();
        let redeem = || {
            world
                .documents
                .redeem(&world.ours, url.path.expose(), Method::Get)
        };
        let (one, two) = tokio::join!(redeem(), redeem());
        assert!(one.is_ok() != two.is_ok());
        assert!(matches!(redeem().await, Err(StorageError::UrlRefused)));
    }
}

#[tokio::test]
async fn a_url_is_worthless_once_its_document_is_deleted() {
    let world = World::new().await;
    let mut new = note();
    new.category = Category::MessageAttachment;
    let stored = world
        .documents
        .put(&world.ours, new, NOTE.into())
        .await
        .unwrap();
    let at = stored.document.into();
    let url = world
        .documents
        .grant(&world.ours, &at, GrantSpec::default())
        .await
        .unwrap();
    let rule = Code::constant("patient-request");
    world
        .documents
        .delete(&world.ours, stored.document, rule)
        .await
        .unwrap();
    let redeemed = world
        .documents
        .redeem(&world.ours, url.path.expose(), Method::Get)
        .await
        .unwrap();
    let refused = world.documents.open(&world.ours, &redeemed.at, None).await;
    assert!(matches!(refused, Err(StorageError::NotFound)));
}

#[tokio::test]
async fn a_url_that_cannot_be_audited_is_not_handed_out() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    world.audit.set_down(true);
    let at = stored.document.into();
    let refused = world
        .documents
        .grant(&world.ours, &at, GrantSpec::default())
        .await;
    assert!(matches!(refused, Err(StorageError::Audit(_))));
}
