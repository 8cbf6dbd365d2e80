//! Shred epochs: made, found, destroyed; and never the wrong key.

use eonpro_core::time::{Clock as _, SystemClock, Timestamp};
use eonpro_encryption::{CryptoError, Destruction, EpochId, EpochKeys, RootKey};
use serde_json::{Value, json};

use crate::bed::{Bed, context, key, other_contexts};
use crate::proxy::Fault;

fn id_of(epoch: &EpochId) -> &str {
    epoch.as_str().strip_prefix("kms:").unwrap()
}

fn scheduled(destruction: Destruction) -> Timestamp {
    match destruction {
        Destruction::Scheduled { at } => at,
        Destruction::Done => panic!("not scheduled"),
    }
}

#[tokio::test]
async fn an_epoch_unwraps_its_own_for_their_context_only() {
    let Some(bed) = Bed::make().await else { return };
    let root = &bed.root;
    let epoch = root.create().await.unwrap();
    let other = root.create().await.unwrap();
    let wrapped = EpochKeys::wrap(root, &epoch, &key(), &context())
        .await
        .unwrap();
    let unwrapped = EpochKeys::unwrap(root, &epoch, &wrapped, &context()).await;
    assert!(unwrapped.unwrap() == key());

    for context in other_contexts() {
        let refused = EpochKeys::unwrap(root, &epoch, &wrapped, &context).await;
        assert!(
            matches!(refused, Err(CryptoError::RootMismatch)),
            "{context:?}"
        );
    }
    let refused = EpochKeys::unwrap(root, &other, &wrapped, &context()).await;
    assert!(
        matches!(refused, Err(CryptoError::RootMismatch)),
        "{refused:?}"
    );
    let refused = RootKey::unwrap(root, &wrapped, &context()).await;
    assert!(
        matches!(refused, Err(CryptoError::RootMismatch)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_epoch_key_is_tagged_and_its_context_names_it() {
    let Some(bed) = Bed::make().await else { return };
    let epoch = bed.root.create().await.unwrap();
    EpochKeys::wrap(&bed.root, &epoch, &key(), &context())
        .await
        .unwrap();
    let tag = json!([{ "TagKey": "eonpro:epochs-of", "TagValue": format!("kms:{}", bed.key) }]);
    assert_eq!(bed.proxy.seen("CreateKey")[0]["Tags"], tag);
    let seen = bed.proxy.seen("Encrypt");
    assert_eq!(seen[0]["KeyId"], Value::from(id_of(&epoch)));
    let expected = json!({
        "eonpro:root": format!("kms:{}", bed.key),
        "eonpro:scope": "00000000-0000-0000-0000-000000000001",
        "eonpro:kek": "00000001",
        "eonpro:epoch": epoch.as_str(),
    });
    assert_eq!(seen[0]["EncryptionContext"], expected);
}

#[tokio::test]
async fn a_destroyed_epoch_is_gone_for_every_process_and_only_that_one() {
    let Some(bed) = Bed::make().await else { return };
    let root = &bed.root;
    let other = bed.another_process();
    let epoch = root.create().await.unwrap();
    let survivor = root.create().await.unwrap();
    let wrapped = EpochKeys::wrap(root, &epoch, &key(), &context())
        .await
        .unwrap();
    let kept = EpochKeys::wrap(root, &survivor, &key(), &context())
        .await
        .unwrap();

    let begun = SystemClock::new().wall();
    let at = scheduled(root.destroy(&epoch).await.unwrap());
    let days = at.since(begun).as_secs() as f64 / 86_400.0;
    assert!((6.9..7.1).contains(&days), "{days}");
    for process in [root, &other] {
        let refused = EpochKeys::unwrap(process, &epoch, &wrapped, &context()).await;
        assert!(
            matches!(refused, Err(CryptoError::EpochGone)),
            "{refused:?}"
        );
        let refused = EpochKeys::wrap(process, &epoch, &key(), &context()).await;
        assert!(
            matches!(refused, Err(CryptoError::EpochGone)),
            "{refused:?}"
        );
        assert!(
            EpochKeys::unwrap(process, &survivor, &kept, &context())
                .await
                .is_ok()
        );
        assert_eq!(
            process.epochs().await.unwrap(),
            std::slice::from_ref(&survivor)
        );
    }
    assert_eq!(
        scheduled(root.destroy(&epoch).await.unwrap()),
        at,
        "idempotent"
    );
    assert_eq!(
        scheduled(other.destroy(&epoch).await.unwrap()),
        at,
        "also elsewhere"
    );
    assert_eq!(bed.proxy.calls("ScheduleKeyDeletion"), 1);
}

#[tokio::test]
async fn bare_moto_decrypts_with_a_destroyed_key_so_these_tests_need_the_proxy() {
    let Some(bed) = Bed::make().await else { return };
    let bare = bed.on_bare_moto();
    let epoch = bare.create().await.unwrap();
    let wrapped = EpochKeys::wrap(&bare, &epoch, &key(), &context())
        .await
        .unwrap();
    scheduled(bare.destroy(&epoch).await.unwrap());

    let another = bed.on_bare_moto();
    assert!(
        EpochKeys::unwrap(&another, &epoch, &wrapped, &context())
            .await
            .is_ok()
    );
    let refused = EpochKeys::unwrap(&bare, &epoch, &wrapped, &context()).await;
    assert!(
        matches!(refused, Err(CryptoError::EpochGone)),
        "a root knows what it destroyed, however long KMS takes: {refused:?}"
    );
}

#[tokio::test]
async fn destruction_disables_at_once_and_waits_as_long_as_configured() {
    let Some(bed) = Bed::make().await else { return };
    let mut config = bed.config();
    config.deletion_days = 30;
    let root = crate::bed::root_with(config, std::sync::Arc::new(SystemClock::new()));
    let epoch = root.create().await.unwrap();
    root.destroy(&epoch).await.unwrap();
    assert_eq!(
        bed.proxy.seen("DisableKey")[0]["KeyId"],
        Value::from(id_of(&epoch))
    );
    let seen = bed.proxy.seen("ScheduleKeyDeletion");
    assert_eq!(seen[0]["PendingWindowInDays"], Value::from(30));
}

#[tokio::test]
async fn a_destruction_that_stopped_halfway_is_finished_by_a_repeat() {
    let Some(bed) = Bed::make().await else { return };
    let epoch = bed.root.create().await.unwrap();
    let wrapped = EpochKeys::wrap(&bed.root, &epoch, &key(), &context())
        .await
        .unwrap();
    let denied = Fault::Refuse("AccessDeniedException");
    bed.proxy.inject("ScheduleKeyDeletion", 1, &denied);
    let refused = bed.root.destroy(&epoch).await;
    assert!(matches!(refused, Err(CryptoError::Root(_))), "{refused:?}");
    let refused = EpochKeys::unwrap(&bed.root, &epoch, &wrapped, &context()).await;
    assert!(
        matches!(refused, Err(CryptoError::EpochGone)),
        "it is disabled"
    );
    scheduled(bed.root.destroy(&epoch).await.unwrap());
}

#[tokio::test]
async fn two_that_destroy_one_epoch_both_succeed() {
    let Some(bed) = Bed::make().await else { return };
    let epoch = bed.root.create().await.unwrap();
    bed.administer("ScheduleKeyDeletion", id_of(&epoch)).await;
    // The first question was answered before the other one came.
    let before = json!({ "KeyMetadata": { "KeyId": id_of(&epoch), "KeyState": "Enabled" } });
    bed.proxy
        .inject("DescribeKey", 1, &Fault::Say(200, before.to_string()));
    let late = Fault::Refuse("KMSInvalidStateException");
    bed.proxy.inject("DisableKey", 1, &late);
    bed.proxy.inject("ScheduleKeyDeletion", 1, &late);
    scheduled(bed.root.destroy(&epoch).await.unwrap());
    assert_eq!(bed.proxy.calls("ScheduleKeyDeletion"), 1);
}

#[tokio::test]
async fn an_epoch_that_never_was_is_gone() {
    let Some(bed) = Bed::make().await else { return };
    for name in [
        "kms:00000000-0000-4000-8000-000000000000",
        "kms:a:b",
        "keyring:1",
    ] {
        let epoch = EpochId::new(name).unwrap();
        let refused = EpochKeys::wrap(&bed.root, &epoch, &key(), &context()).await;
        assert!(
            matches!(refused, Err(CryptoError::EpochGone)),
            "{name}: {refused:?}"
        );
        let refused = EpochKeys::unwrap(&bed.root, &epoch, b"\x01blob", &context()).await;
        assert!(
            matches!(refused, Err(CryptoError::EpochGone)),
            "{name}: {refused:?}"
        );
        let destroyed = bed.root.destroy(&epoch).await;
        match name.strip_prefix("kms:0") {
            Some(_) => assert_eq!(destroyed.unwrap(), Destruction::Done),
            None => assert!(matches!(destroyed, Err(CryptoError::ForeignCustody))),
        }
    }
}

#[tokio::test]
async fn another_region_or_account_does_not_call_an_epoch_gone_that_it_never_had() {
    let Some(bed) = Bed::make().await else { return };
    let epoch = bed.root.create().await.unwrap();
    let mut config = bed.config();
    config.region = "us-east-1".to_owned();
    let elsewhere = crate::bed::root_with(config, std::sync::Arc::new(SystemClock::new()));
    let refused = elsewhere.destroy(&epoch).await;
    assert!(matches!(refused, Err(CryptoError::Root(_))), "{refused:?}");
    assert_eq!(bed.root.epochs().await.unwrap(), [epoch]);
}

#[tokio::test]
async fn neither_the_root_nor_an_epoch_of_another_is_destroyed_by_a_mistaken_id() {
    let Some(bed) = Bed::make().await else { return };
    let other = bed.on_another_key().await;
    let wrapped = RootKey::wrap(&bed.root, &key(), &context()).await.unwrap();
    let root = EpochId::new(bed.root.id().as_str()).unwrap();
    let foreign = other.create().await.unwrap();
    for epoch in [root, foreign] {
        let refused = bed.root.destroy(&epoch).await;
        assert!(matches!(refused, Err(CryptoError::Root(_))), "{refused:?}");
    }
    assert_eq!(bed.proxy.calls("DisableKey"), 0);
    assert_eq!(bed.proxy.calls("ScheduleKeyDeletion"), 0);
    assert!(
        RootKey::unwrap(&bed.root, &wrapped, &context())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn an_epoch_that_we_may_not_use_or_cannot_reach_is_not_gone() {
    let Some(bed) = Bed::make().await else { return };
    let epoch = bed.root.create().await.unwrap();
    let wrapped = EpochKeys::wrap(&bed.root, &epoch, &key(), &context())
        .await
        .unwrap();
    for code in [
        "AccessDeniedException",
        "KeyUnavailableException",
        "ThrottlingException",
    ] {
        bed.proxy.inject("Decrypt", 4, &Fault::Refuse(code));
        let refused = EpochKeys::unwrap(&bed.root, &epoch, &wrapped, &context()).await;
        assert!(
            !matches!(refused, Ok(_) | Err(CryptoError::EpochGone)),
            "{code}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn only_enabled_epochs_of_this_root_are_listed() {
    let Some(bed) = Bed::make().await else { return };
    let other = bed.on_another_key().await;
    assert_eq!(bed.root.epochs().await.unwrap(), []);
    let mut ours = [
        bed.root.create().await.unwrap(),
        bed.root.create().await.unwrap(),
    ];
    let disabled = bed.root.create().await.unwrap();
    bed.administer("DisableKey", id_of(&disabled)).await;
    other.create().await.unwrap();

    let mut listed = bed.another_process().epochs().await.unwrap();
    listed.sort();
    ours.sort();
    assert_eq!(listed, ours);
}

#[tokio::test]
async fn all_pages_of_keys_and_tags_are_read() {
    let Some(bed) = Bed::make().await else { return };
    let epochs = [
        bed.root.create().await.unwrap(),
        bed.root.create().await.unwrap(),
    ];
    let page = |epoch: &EpochId, more: Value| {
        let mut page = json!({ "Keys": [{ "KeyId": id_of(epoch) }] });
        page.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        Fault::Say(200, page.to_string())
    };
    let more = json!({ "Truncated": true, "NextMarker": "more" });
    bed.proxy.inject("ListKeys", 1, &page(&epochs[0], more));
    bed.proxy.inject(
        "ListKeys",
        1,
        &page(&epochs[1], json!({ "Truncated": false })),
    );
    let tags = json!({ "Tags": [], "Truncated": true, "NextMarker": "tags" }).to_string();
    bed.proxy
        .inject("ListResourceTags", 1, &Fault::Say(200, tags));

    assert_eq!(bed.root.epochs().await.unwrap(), epochs);
    assert_eq!(bed.proxy.seen("ListKeys")[1]["Marker"], Value::from("more"));
    assert_eq!(
        bed.proxy.seen("ListResourceTags")[1]["Marker"],
        Value::from("tags")
    );
}

#[tokio::test]
async fn keys_of_others_that_we_may_not_look_at_are_passed_over() {
    let Some(bed) = Bed::make().await else { return };
    let epoch = bed.root.create().await.unwrap();
    let keys = [bed.key.as_str(), id_of(&epoch)].map(|id| json!({ "KeyId": id }));
    let keys = json!({ "Keys": keys, "Truncated": false }).to_string();
    bed.proxy.inject("ListKeys", 1, &Fault::Say(200, keys));
    let denied = Fault::Refuse("AccessDeniedException");
    bed.proxy.inject("ListResourceTags", 1, &denied);
    assert_eq!(bed.root.epochs().await.unwrap(), [epoch]);
}

#[tokio::test]
async fn a_new_epoch_is_handed_out_once_kms_knows_it() {
    let Some(bed) = Bed::make().await else { return };
    let unknown = Fault::Refuse("NotFoundException");
    bed.proxy.inject("DescribeKey", 2, &unknown);
    let epoch = bed.root.create().await.unwrap();
    assert_eq!(bed.proxy.calls("DescribeKey"), 3);
    assert!(
        EpochKeys::wrap(&bed.root, &epoch, &key(), &context())
            .await
            .is_ok()
    );

    bed.proxy.inject("DescribeKey", 100, &unknown);
    let refused = bed.root.create().await;
    assert!(matches!(refused, Err(CryptoError::Root(_))), "{refused:?}");
}

#[tokio::test]
async fn an_epoch_that_an_administrator_disabled_is_not_gone() {
    let Some(bed) = Bed::make().await else { return };
    let epoch = bed.root.create().await.unwrap();
    let wrapped = EpochKeys::wrap(&bed.root, &epoch, &key(), &context())
        .await
        .unwrap();
    bed.administer("DisableKey", id_of(&epoch)).await;
    let refused = EpochKeys::unwrap(&bed.root, &epoch, &wrapped, &context()).await;
    assert!(
        matches!(refused, Err(CryptoError::RootDisabled)),
        "{refused:?}"
    );
}
