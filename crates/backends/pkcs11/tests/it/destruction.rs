//! Destroyed really is destroyed: in another process, and whatever was wrapped before.

use eonpro_encryption::{CryptoError, Destruction, EpochId, EpochKeys as _};
use eonpro_pkcs11::Pkcs11Root;

use crate::token::{Token, context, given, key, with_token};

/// What the other process shall work on: the root's label, an epoch that is gone, what it wrapped,
/// and an epoch that lives.
const ORDER: &str = "EONPRO_TEST_ORDER";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let pairs = pairs.map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

async fn expect_gone(root: &Pkcs11Root, epoch: &EpochId, wrapped: &[u8]) {
    let unwrapped = root.unwrap(epoch, wrapped, &context()).await;
    assert!(matches!(unwrapped, Err(CryptoError::EpochGone)));
    let again = root.wrap(epoch, &key(), &context()).await;
    assert!(matches!(again, Err(CryptoError::EpochGone)));
}

#[test]
fn a_destroyed_epoch_is_gone_in_another_process_and_the_other_way_round() {
    let name = "destruction::a_destroyed_epoch_is_gone_in_another_process_and_the_other_way_round";
    with_token(name, async |token: Token| {
        let (config, root) = token.fresh_root().await;
        let gone = root.create().await.unwrap();
        let theirs = root.create().await.unwrap();
        let wrapped = root.wrap(&gone, &key(), &context()).await.unwrap();
        let also = root.wrap(&theirs, &key(), &context()).await.unwrap();
        let destroyed = root.destroy(&gone).await.unwrap();
        assert_eq!(destroyed, Destruction::Done);
        expect_gone(&root, &gone, &wrapped).await;

        let order = [
            &config.key,
            gone.as_str(),
            &hex(&wrapped),
            theirs.as_str(),
            &hex(&also),
        ];
        let ran = token
            .other_process("destruction::as_another_process")
            .env(ORDER, order.join(" "))
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
        assert!(String::from_utf8_lossy(&ran.stdout).contains("1 passed"));
        // This process has used the epoch that the other one destroyed.
        expect_gone(&root, &theirs, &also).await;
        assert_eq!(root.epochs().await.unwrap(), []);
    });
}

#[test]
#[ignore = "the other process of a_destroyed_epoch_is_gone_in_another_process"]
#[expect(clippy::disallowed_methods, reason = "a word from the parent process")]
fn as_another_process() {
    let (Some(token), Ok(order)) = (given(), std::env::var(ORDER)) else {
        return;
    };
    let order: Vec<&str> = order.split(' ').collect();
    let [label, gone, wrapped, lives, also] = order.as_slice() else {
        panic!("{order:?}");
    };
    let (gone, lives) = (EpochId::new(gone).unwrap(), EpochId::new(lives).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    runtime.block_on(async {
        let root = Pkcs11Root::open(token.config(label)).await.unwrap();
        expect_gone(&root, &gone, &bytes(wrapped)).await;
        let found = root.unwrap(&lives, &bytes(also), &context()).await;
        assert!(found.unwrap() == key());
        root.destroy(&lives).await.unwrap();
        expect_gone(&root, &lives, &bytes(also)).await;
    });
}

#[test]
fn no_object_of_a_destroyed_epoch_is_left_in_the_token() {
    let name = "destruction::no_object_of_a_destroyed_epoch_is_left_in_the_token";
    with_token(name, async |token: Token| {
        let (_, root) = token.fresh_root().await;
        let objects = || {
            let folder = std::fs::read_dir(token.objects()).unwrap().next().unwrap();
            let inside = std::fs::read_dir(folder.unwrap().path()).unwrap();
            let names = inside.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.ends_with(".object")).count()
        };
        let before = objects();
        let epoch = root.create().await.unwrap();
        assert_eq!(objects(), before + 1);
        root.destroy(&epoch).await.unwrap();
        assert_eq!(objects(), before);
    });
}
