//! What goes wrong: PINs, labels, lost logins, a token that is taken away, many callers.

use std::sync::Arc;

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::types::Ulong;
use eonpro_core::component::{Component as _, Health};
use eonpro_core::secret::SecretText;
use eonpro_core::{Classify as _, Status, task};
use eonpro_encryption::{CryptoError, EpochKeys, RootKey};
use eonpro_pkcs11::{Pkcs11Config, Pkcs11Root};

use crate::token::{Token, context, key, with_token};

async fn expect_refused(config: Pkcs11Config, setting: &str) {
    match Pkcs11Root::open(config).await {
        Err(CryptoError::Config(named)) => assert!(named.starts_with(setting), "{named}"),
        other => panic!("{setting}: {other:?}"),
    }
}

#[test]
fn wrong_settings_are_named_and_permanent() {
    with_token(
        "trouble::wrong_settings_are_named_and_permanent",
        async |token: Token| {
            let (good, root) = token.fresh_root().await;
            let again = Pkcs11Root::create(good.clone()).await;
            assert!(matches!(again, Err(CryptoError::Config(_))), "{again:?}");

            let pin = |pin: &str| Pkcs11Config {
                pin: SecretText::new(pin.to_owned()),
                ..good.clone()
            };
            // While somebody is logged in, the token itself would let anyone in.
            expect_refused(pin("999999"), "pin").await;
            root.close().await;
            drop(root);
            expect_refused(pin("999999"), "pin").await;
            expect_refused(token.config("no-such-key"), "key label").await;
            let elsewhere = Pkcs11Config {
                module: "/no/such/module.so".into(),
                ..good.clone()
            };
            expect_refused(elsewhere, "module").await;
            let absent = Pkcs11Config {
                token: "no such token".to_owned(),
                ..good.clone()
            };
            let absent = Pkcs11Root::open(absent).await.unwrap_err();
            assert_eq!(absent.status(), Status::Temporary, "{absent:?}");
            assert!(Pkcs11Root::open(good).await.is_ok());
        },
    );
}

/// Logs this process out of every token, as a token that was pulled and put back would.
fn log_out(config: &Pkcs11Config) {
    // Loaded once more, not initialised once more.
    let module = Pkcs11::new(&config.module).unwrap();
    let slots = module.get_slots_with_initialized_token().unwrap();
    let session = module.open_rw_session(slots[0]).unwrap();
    session.logout().unwrap();
}

#[test]
fn a_lost_login_is_temporary_and_no_epoch_is_called_gone_for_it() {
    let name = "trouble::a_lost_login_is_temporary_and_no_epoch_is_called_gone_for_it";
    with_token(name, async |token: Token| {
        let (config, root) = token.fresh_root().await;
        let epoch = root.create().await.unwrap();
        let wrapped = EpochKeys::wrap(&*root, &epoch, &key(), &context()).await;
        let wrapped = wrapped.unwrap();
        let bound = context();
        let unwrap = || EpochKeys::unwrap(&*root, &epoch, &wrapped, &bound);

        log_out(&config);
        let failed = unwrap().await.unwrap_err();
        assert!(matches!(failed, CryptoError::Root(_)), "{failed:?}");
        assert_eq!(failed.status(), Status::Temporary);
        assert!(matches!(root.health().await, Health::Unhealthy(_)));
        assert!(unwrap().await.unwrap() == key());
        assert_eq!(root.health().await, Health::Healthy);

        log_out(&config);
        assert!(matches!(root.epochs().await, Err(CryptoError::Root(_))));
        assert_eq!(root.epochs().await.unwrap(), std::slice::from_ref(&epoch));
        log_out(&config);
        let destroyed = root.destroy(&epoch).await;
        assert!(matches!(destroyed, Err(CryptoError::Root(_))));
        assert_eq!(root.epochs().await.unwrap(), [epoch]);
    });
}

#[test]
fn an_epoch_is_not_gone_because_its_token_is_away() {
    let name = "trouble::an_epoch_is_not_gone_because_its_token_is_away";
    with_token(name, async |token: Token| {
        let (_, root) = token.fresh_root().await;
        let epoch = root.create().await.unwrap();
        let wrapped = EpochKeys::wrap(&*root, &epoch, &key(), &context()).await;
        let wrapped = wrapped.unwrap();
        let folder = std::fs::read_dir(token.objects()).unwrap().next().unwrap();
        let (here, away) = (
            folder.unwrap().path(),
            token.objects().with_file_name("away"),
        );

        std::fs::rename(&here, &away).unwrap();
        for _ in 0..2 {
            let failed = EpochKeys::unwrap(&*root, &epoch, &wrapped, &context()).await;
            assert!(matches!(failed, Err(CryptoError::Root(_))), "{failed:?}");
            assert!(matches!(root.epochs().await, Err(CryptoError::Root(_))));
            let failed = root.destroy(&epoch).await;
            assert!(matches!(failed, Err(CryptoError::Root(_))), "{failed:?}");
            let failed = RootKey::wrap(&*root, &key(), &context()).await;
            assert!(matches!(failed, Err(CryptoError::Root(_))), "{failed:?}");
        }
    });
}

#[test]
fn a_key_that_may_leave_its_token_or_has_a_namesake_is_refused() {
    let name = "trouble::a_key_that_may_leave_its_token_or_has_a_namesake_is_refused";
    with_token(name, async |token: Token| {
        // Holds the login of this process.
        let (good, _root) = token.fresh_root().await;
        let module = Pkcs11::new(&good.module).unwrap();
        let slots = module.get_slots_with_initialized_token().unwrap();
        let session = module.open_rw_session(slots[0]).unwrap();
        let make = |label: &str, sensitive: bool, extractable: bool, bytes: u64| {
            let template = [
                Attribute::Label(label.as_bytes().to_vec()),
                Attribute::Id(vec![7; 8]),
                Attribute::Token(true),
                Attribute::ValueLen(Ulong::new(bytes)),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::Sensitive(sensitive),
                Attribute::Extractable(extractable),
            ];
            session
                .generate_key(&Mechanism::AesKeyGen, &template)
                .unwrap();
        };
        make("plain", false, false, 32);
        make("extractable", true, true, 32);
        make("short", true, false, 16);
        make("sound", true, false, 32);
        make(&good.key, true, false, 32);
        for label in ["plain", "extractable", "short", &good.key] {
            expect_refused(token.config(label), "key label").await;
        }
        let sound = Pkcs11Root::open(token.config("sound")).await.unwrap();
        assert_eq!(sound.id().as_str(), "pkcs11:0707070707070707");
    });
}

#[test]
fn more_callers_than_sessions_all_get_their_answer() {
    let name = "trouble::more_callers_than_sessions_all_get_their_answer";
    with_token(name, async |token: Token| {
        let (config, _) = token.fresh_root().await;
        let few = Pkcs11Config {
            max_sessions: 2,
            ..config
        };
        let root = Arc::new(Pkcs11Root::open(few).await.unwrap());
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let root = Arc::clone(&root);
                task::start(async move {
                    let wrapped = RootKey::wrap(&*root, &key(), &context()).await?;
                    RootKey::unwrap(&*root, &wrapped, &context()).await
                })
            })
            .collect();
        for running in tasks {
            assert!(running.await.unwrap().unwrap() == key());
        }
        root.close().await;
        root.close().await;
        let closed = RootKey::wrap(&*root, &key(), &context()).await;
        assert!(matches!(closed, Err(CryptoError::Closed)));
        assert!(matches!(root.health().await, Health::Unhealthy(_)));
    });
}

#[test]
fn two_roots_of_one_token_have_custodies_of_their_own() {
    let name = "trouble::two_roots_of_one_token_have_custodies_of_their_own";
    with_token(name, async |token: Token| {
        let (_, one) = token.fresh_root().await;
        let (_, other) = token.fresh_root().await;
        let epoch = one.create().await.unwrap();
        assert_eq!(other.epochs().await.unwrap(), []);
        let refused = EpochKeys::wrap(&*other, &epoch, &key(), &context()).await;
        assert!(matches!(refused, Err(CryptoError::EpochGone)));
        other.destroy(&epoch).await.unwrap();
        assert_eq!(one.epochs().await.unwrap(), [epoch]);
    });
}

#[test]
fn no_error_tells_a_path_a_label_or_a_pin() {
    with_token(
        "trouble::no_error_tells_a_path_a_label_or_a_pin",
        async |token: Token| {
            let not_a_module = std::env::current_exe().unwrap();
            let config = Pkcs11Config {
                module: not_a_module.clone(),
                ..token.config("some-key")
            };
            let failed = Pkcs11Root::open(config).await.unwrap_err();
            let text = format!("{failed:?} {failed}");
            assert!(matches!(failed, CryptoError::Root(_)), "{text}");
            for secret in [not_a_module.to_str().unwrap(), "some-key", "123456"] {
                assert!(!text.contains(secret), "{text}");
            }
        },
    );
}
