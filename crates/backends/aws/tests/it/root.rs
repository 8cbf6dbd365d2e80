//! The root key: what it opens, what it refuses, and what KMS gets to see.

use std::sync::Arc;

use eonpro_aws::KmsFailure;
use eonpro_core::component::{Component as _, Fitness, Health, Validation};
use eonpro_core::port::SealScope;
use eonpro_core::time::SystemClock;
use eonpro_encryption::{CryptoError, RootKey as _, WrapContext};
use serde_json::{Value, json};

use crate::bed::{Bed, config_at, context, key, other_contexts, root_with};
use crate::proxy::{Fault, REQUEST_ID};

#[tokio::test]
async fn a_key_unwraps_for_its_own_context_only() {
    let Some(bed) = Bed::make().await else { return };
    let wrapped = bed.root.wrap(&key(), &context()).await.unwrap();
    assert!(wrapped.len() <= 4096);
    assert!(bed.root.unwrap(&wrapped, &context()).await.unwrap() == key());
    for other in other_contexts() {
        let refused = bed.root.unwrap(&wrapped, &other).await;
        assert!(
            matches!(refused, Err(CryptoError::RootMismatch)),
            "{other:?}"
        );
    }
}

#[tokio::test]
async fn what_another_root_wrapped_does_not_unwrap() {
    let Some(bed) = Bed::make().await else { return };
    let other = bed.on_another_key().await;
    let wrapped = other.wrap(&key(), &context()).await.unwrap();
    let refused = bed.root.unwrap(&wrapped, &context()).await;
    assert!(
        matches!(refused, Err(CryptoError::RootMismatch)),
        "{refused:?}"
    );
    assert!(other.unwrap(&wrapped, &context()).await.is_ok());
}

#[tokio::test]
async fn changed_bytes_do_not_unwrap() {
    let Some(bed) = Bed::make().await else { return };
    let wrapped = bed.root.wrap(&key(), &context()).await.unwrap();
    let last = wrapped.len() - 1;
    for at in [1, 20, 40, last] {
        let mut changed = wrapped.clone();
        changed[at] ^= 1;
        let refused = bed.root.unwrap(&changed, &context()).await;
        assert!(
            matches!(refused, Err(CryptoError::RootMismatch)),
            "{at}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_wrapped_key_costs_no_call() {
    let Some(bed) = Bed::make().await else { return };
    let long = vec![1; 4097];
    for foreign in [b"".as_slice(), b"\x01", b"\x02blob", &long] {
        let refused = bed.root.unwrap(foreign, &context()).await;
        assert!(matches!(refused, Err(CryptoError::RootMismatch)));
    }
    assert_eq!(bed.proxy.calls("Decrypt"), 0);
}

#[tokio::test]
async fn a_disabled_root_is_told_apart_and_works_again_once_enabled() {
    let Some(bed) = Bed::make().await else { return };
    let wrapped = bed.root.wrap(&key(), &context()).await.unwrap();
    assert_eq!(bed.root.health().await, Health::Healthy);

    bed.administer("DisableKey", &bed.key).await;
    let refused = bed.root.unwrap(&wrapped, &context()).await;
    assert!(
        matches!(refused, Err(CryptoError::RootDisabled)),
        "{refused:?}"
    );
    let refused = bed.root.wrap(&key(), &context()).await;
    assert!(
        matches!(refused, Err(CryptoError::RootDisabled)),
        "{refused:?}"
    );
    assert_eq!(
        bed.root.health().await,
        Health::Unhealthy("root key is disabled")
    );

    bed.administer("EnableKey", &bed.key).await;
    assert!(bed.root.unwrap(&wrapped, &context()).await.unwrap() == key());
}

#[tokio::test]
async fn a_root_that_is_about_to_be_destroyed_is_disabled() {
    let Some(bed) = Bed::make().await else { return };
    let wrapped = bed.root.wrap(&key(), &context()).await.unwrap();
    bed.administer("ScheduleKeyDeletion", &bed.key).await;
    let refused = bed.root.unwrap(&wrapped, &context()).await;
    assert!(
        matches!(refused, Err(CryptoError::RootDisabled)),
        "{refused:?}"
    );
    let about = Health::Unhealthy("root key is about to be destroyed");
    assert_eq!(bed.root.health().await, about);
}

#[tokio::test]
async fn kms_sees_the_expected_ids_and_no_more() {
    let Some(bed) = Bed::make().await else { return };
    let system = WrapContext {
        scope: SealScope::System,
        ..context()
    };
    for (whose, scope) in [
        (context(), "00000000-0000-0000-0000-000000000001"),
        (system, "system"),
    ] {
        bed.proxy.forget();
        let wrapped = bed.root.wrap(&key(), &whose).await.unwrap();
        bed.root.unwrap(&wrapped, &whose).await.unwrap();
        let expected = json!({
            "eonpro:root": format!("kms:{}", bed.key),
            "eonpro:scope": scope,
            "eonpro:kek": "00000001",
        });
        for (operation, fields) in [
            ("Encrypt", ["EncryptionContext", "KeyId", "Plaintext"]),
            ("Decrypt", ["CiphertextBlob", "EncryptionContext", "KeyId"]),
        ] {
            let seen = bed.proxy.seen(operation);
            assert_eq!(seen.len(), 1);
            assert_eq!(seen[0]["EncryptionContext"], expected, "{operation}");
            let names: Vec<&str> = seen[0]
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            assert_eq!(names, fields, "{operation}");
        }
    }
}

#[tokio::test]
async fn every_decrypt_names_the_key() {
    let Some(bed) = Bed::make().await else { return };
    let wrapped = bed.root.wrap(&key(), &context()).await.unwrap();
    for context in [[context()].as_slice(), &other_contexts()].concat() {
        let _refused_or_not = bed.root.unwrap(&wrapped, &context).await;
    }
    let seen = bed.proxy.seen("Decrypt");
    assert_eq!(seen.len(), 4);
    for body in seen {
        assert_eq!(body["KeyId"], Value::from(bed.key.as_str()));
    }
}

#[tokio::test]
async fn a_denial_is_a_failure_of_the_backend_and_not_a_foreign_key() {
    let Some(bed) = Bed::make().await else { return };
    let wrapped = bed.root.wrap(&key(), &context()).await.unwrap();
    let denied = Fault::Refuse("AccessDeniedException");
    bed.proxy.inject("Decrypt", 1, &denied);
    let refused = bed.root.unwrap(&wrapped, &context()).await;
    let Err(CryptoError::Root(source)) = refused else {
        panic!("{refused:?}");
    };
    let failure = source.downcast_ref::<KmsFailure>().unwrap();
    assert_eq!(failure.operation(), "Decrypt");
    assert_eq!(failure.code(), Some("AccessDeniedException"));
    assert_eq!(failure.request_id(), Some(REQUEST_ID));
    assert!(bed.root.unwrap(&wrapped, &context()).await.is_ok());
}

#[tokio::test]
async fn no_error_repeats_what_was_sent_or_answered() {
    let Some(bed) = Bed::make().await else { return };
    let wrapped = bed.root.wrap(&key(), &context()).await.unwrap();
    let secret = "00000000-0000-0000-0000-000000000001";
    let answers = [
        (
            400,
            format!(r#"{{"__type":"ValidationException","message":"{secret}"}}"#),
        ),
        (
            400,
            format!(r#"{{"__type":"Odd {secret}","message":"{secret}"}}"#),
        ),
        (400, format!("no json {secret}")),
        (200, format!(r#"{{"Plaintext":"{secret}""#)),
        (200, format!(r#"{{"Plaintext":["{secret}"]}}"#)),
    ];
    for (status, text) in answers {
        bed.proxy
            .inject("Decrypt", 4, &Fault::Say(status, text.clone()));
        let refused = bed.root.unwrap(&wrapped, &context()).await.unwrap_err();
        let mut told = format!("{refused:?} {refused}");
        let mut source = std::error::Error::source(&refused);
        while let Some(error) = source {
            told.push_str(&format!(" {error:?} {error}"));
            source = error.source();
        }
        assert!(!told.contains(secret), "{text}: {told}");
        assert!(!told.contains("CiphertextBlob"), "{text}: {told}");
    }
}

#[tokio::test]
async fn an_answer_without_a_key_of_ours_does_not_unwrap() {
    let Some(bed) = Bed::make().await else { return };
    let wrapped = bed.root.wrap(&key(), &context()).await.unwrap();
    let short = r#"{"Plaintext":"AAAA"}"#.to_owned();
    for answer in ["{}".to_owned(), short] {
        bed.proxy.inject("Decrypt", 1, &Fault::Say(200, answer));
        let refused = bed.root.unwrap(&wrapped, &context()).await;
        assert!(
            matches!(refused, Err(CryptoError::RootMismatch)),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_closed_root_refuses() {
    let Some(bed) = Bed::make().await else { return };
    let wrapped = bed.root.wrap(&key(), &context()).await.unwrap();
    bed.root.close().await;
    bed.root.close().await;
    let refused = bed.root.unwrap(&wrapped, &context()).await;
    assert!(matches!(refused, Err(CryptoError::Closed)), "{refused:?}");
    assert_eq!(bed.proxy.calls("Decrypt"), 0);
}

#[test]
fn a_root_at_another_address_than_amazons_is_for_tests() {
    let clock = || Arc::new(SystemClock::new());
    let key = "1234abcd-12ab-34cd-56ef-1234567890ab";
    let emulated = root_with(config_at("http://127.0.0.1:9".to_owned(), key), clock());
    assert_eq!(emulated.posture().fitness, Fitness::TestOnly);
    let mut config = config_at(String::new(), key);
    config.endpoint = None;
    let real = root_with(config, clock());
    assert_eq!(real.posture().fitness, Fitness::Production);
    assert_eq!(real.posture().crypto, Validation::NotValidated);
}

#[test]
fn a_root_prints_no_secret() {
    let key = "1234abcd-12ab-34cd-56ef-1234567890ab";
    let root = root_with(
        config_at("http://127.0.0.1:9".to_owned(), key),
        Arc::new(SystemClock::new()),
    );
    let told = format!("{root:?}");
    assert!(
        told.contains(key) && !told.contains(crate::bed::SECRET),
        "{told}"
    );
}
