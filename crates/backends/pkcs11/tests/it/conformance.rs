//! The suites that judge every root key and every custody of epoch keys.

use std::sync::Arc;

use eonpro_core::component::{Component as _, Durability, Fitness, Validation};
use eonpro_encryption::{EpochKeys, RootKey};
use eonpro_pkcs11::Pkcs11Root;
use eonpro_testkit::conformance::{epoch_keys, root_key};
use futures_util::FutureExt as _;

use crate::token::with_token;

#[test]
fn the_root_key_conforms() {
    with_token("conformance::the_root_key_conforms", async |token| {
        let report = root_key(async || {
            let (config, root) = token.fresh_root().await;
            root_key::Subject::volatile(root).reopened_by(move || {
                let opening = Pkcs11Root::open(config.clone());
                async move { Arc::new(opening.await.unwrap()) as Arc<dyn RootKey> }.boxed()
            })
        });
        let report = report.await;
        report.assert_conforms();
        assert_eq!(report.passed.len(), root_key::checks().count());
    });
}

#[test]
fn the_epoch_keys_conform() {
    with_token("conformance::the_epoch_keys_conform", async |token| {
        let report = epoch_keys(async || {
            let (config, root) = token.fresh_root().await;
            epoch_keys::Subject::new(root, move || {
                let opening = Pkcs11Root::open(config.clone());
                async move { Arc::new(opening.await.unwrap()) as Arc<dyn EpochKeys> }.boxed()
            })
        });
        let report = report.await;
        report.assert_conforms();
        assert_eq!(report.passed.len(), epoch_keys::checks().count());
    });
}

#[test]
fn softhsm_is_fit_for_tests_only_and_nothing_is_called_validated() {
    let name = "conformance::softhsm_is_fit_for_tests_only_and_nothing_is_called_validated";
    with_token(name, async |token| {
        let (_, root) = token.fresh_root().await;
        let posture = root.posture();
        assert_eq!(posture.fitness, Fitness::TestOnly);
        assert_eq!(posture.crypto, Validation::NotValidated);
        assert_eq!(posture.durability, Durability::Durable);
    });
}
