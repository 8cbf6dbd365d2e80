//! What lies in the token: what its keys may do, how often they are there, and who is logged in.

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType};
use cryptoki::session::Session;
use cryptoki::types::{AuthPin, Ulong};
use eonpro_encryption::{CryptoError, EpochKeys, RootKey};
use eonpro_pkcs11::Pkcs11Config;

use crate::token::{PIN, Token, context, key, with_token};

fn module(config: &Pkcs11Config) -> Pkcs11 {
    // Loaded once more, not initialised once more.
    Pkcs11::new(&config.module).unwrap()
}

/// A session beside those of the root, which holds the login of this process.
fn session(config: &Pkcs11Config) -> Session {
    let module = module(config);
    let slots = module.get_slots_with_initialized_token().unwrap();
    module.open_rw_session(slots[0]).unwrap()
}

#[test]
fn keys_neither_leave_nor_change_and_do_nothing_but_encrypt() {
    let name = "objects::keys_neither_leave_nor_change_and_do_nothing_but_encrypt";
    with_token(name, async |token: Token| {
        let (config, root) = token.fresh_root().await;
        root.create().await.unwrap();
        let session = session(&config);
        let objects = session.find_objects(&[Attribute::Token(true)]).unwrap();
        assert_eq!(objects.len(), 2, "the root key and an epoch's");
        let expected = [
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::AlwaysSensitive(true),
            Attribute::Extractable(false),
            Attribute::NeverExtractable(true),
            Attribute::Copyable(false),
            Attribute::Modifiable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::Wrap(false),
            Attribute::Unwrap(false),
            Attribute::Derive(false),
            Attribute::Sign(false),
            Attribute::Verify(false),
        ];
        let types: Vec<AttributeType> = expected
            .iter()
            .map(|attribute| attribute.attribute_type())
            .collect();
        for object in objects {
            let found = session.get_attributes(object, &types).unwrap();
            assert_eq!(found, expected);
        }
    });
}

#[test]
fn of_an_epoch_that_is_there_twice_nothing_is_left() {
    let name = "objects::of_an_epoch_that_is_there_twice_nothing_is_left";
    with_token(name, async |token: Token| {
        let (config, root) = token.fresh_root().await;
        let epoch = root.create().await.unwrap();
        let wrapped = EpochKeys::wrap(&*root, &epoch, &key(), &context()).await;
        let session = session(&config);
        let hex = |id: &str| id.split_once(':').unwrap().1.to_owned();
        let label = format!(
            "eonpro-epoch/{}/{}",
            hex(root.id().as_str()),
            hex(epoch.as_str())
        );
        // As a restored or replicated token may have it.
        let namesake = [
            Attribute::Label(label.clone().into_bytes()),
            Attribute::Token(true),
            Attribute::ValueLen(Ulong::new(32)),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
        ];
        session
            .generate_key(&Mechanism::AesKeyGen, &namesake)
            .unwrap();
        root.destroy(&epoch).await.unwrap();
        let left = session.find_objects(&[Attribute::Label(label.into_bytes())]);
        assert!(left.unwrap().is_empty());
        let refused = EpochKeys::unwrap(&*root, &epoch, &wrapped.unwrap(), &context()).await;
        assert!(matches!(refused, Err(CryptoError::EpochGone)));
    });
}

#[test]
fn after_a_lost_login_one_call_fails_however_many_sessions_there_were() {
    let name = "objects::after_a_lost_login_one_call_fails_however_many_sessions_there_were";
    with_token(name, async |token: Token| {
        let (config, _) = token.fresh_root().await;
        let config = Pkcs11Config {
            serialize: false,
            ..config
        };
        let root = eonpro_pkcs11::Pkcs11Root::open(config.clone())
            .await
            .unwrap();
        let (key, context) = (key(), context());
        // Until there are several sessions at once.
        for _ in 0..24 {
            root.create().await.unwrap();
        }
        let wrap = || RootKey::wrap(&root, &key, &context);
        let list = || root.epochs();
        for _ in 0..20 {
            let all = tokio::join!(list(), list(), list(), list());
            assert!(all.0.is_ok() && all.1.is_ok() && all.2.is_ok() && all.3.is_ok());
        }
        session(&config).logout().unwrap();
        assert!(wrap().await.is_err());
        for _ in 0..4 {
            assert!(wrap().await.is_ok());
        }
    });
}

#[test]
fn a_refused_pin_is_not_offered_again() {
    let name = "objects::a_refused_pin_is_not_offered_again";
    with_token(name, async |token: Token| {
        let (config, root) = token.fresh_root().await;
        let pin = |pin: &str| AuthPin::from(pin.to_owned());
        let administrator = session(&config);
        administrator.set_pin(&pin(PIN), &pin("999999")).unwrap();
        administrator.logout().unwrap();
        let wrap = async || RootKey::wrap(&*root, &key(), &context()).await;
        // The first finds that the login is lost, the second is refused.
        assert!(matches!(wrap().await, Err(CryptoError::Root(_))));
        assert!(matches!(wrap().await, Err(CryptoError::Config(_))));
        let user = cryptoki::session::UserType::User;
        administrator.login(user, Some(&pin("999999"))).unwrap();
        administrator.set_pin(&pin("999999"), &pin(PIN)).unwrap();
        administrator.logout().unwrap();
        // It would be taken now: but nobody tries.
        assert!(matches!(wrap().await, Err(CryptoError::Config(_))));
    });
}
