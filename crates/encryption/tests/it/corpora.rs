//! The corpora of the fuzz targets, replayed: `crates/fuzz` without a fuzzer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The bodies of the targets, as the fuzzer runs them.
#[path = "../../../fuzz/src/encryption.rs"]
mod bodies;

/// The most inputs of one corpus: it is read by every run of the tests.
const MOST: usize = 20;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = fuzz().join("corpus").join(target);
    let files = std::fs::read_dir(folder).unwrap().map(|file| {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        (name, std::fs::read(file.path()).unwrap())
    });
    files.collect()
}

#[test]
fn every_target_takes_its_valid_inputs_and_refuses_the_others() {
    for (target, body) in bodies::TARGETS {
        let corpus = corpus(target);
        assert!(corpus.len() < MOST, "{target}");
        assert!(corpus.keys().any(|name| name.starts_with("valid-")));
        assert!(corpus.keys().any(|name| name.starts_with("refused-")));
        for (name, input) in corpus {
            assert_eq!(body(&input), name.starts_with("valid-"), "{target}/{name}");
        }
    }
}

#[test]
fn no_target_takes_a_valid_input_that_was_cut_or_changed() {
    for target in ["client", "message", "stream", "value", "wrapped_key"] {
        let (_, body) = bodies::TARGETS
            .iter()
            .find(|(name, _)| *name == target)
            .unwrap();
        // The choice of a value's binding is not authenticated: it is no part of the value.
        let unbound = usize::from(target == "value");
        for (name, input) in corpus(target) {
            if !name.starts_with("valid-") {
                continue;
            }
            assert!(!body(&input[..input.len() - 1]), "{target}/{name} cut");
            for at in (unbound..input.len()).step_by(1 + input.len() / 97) {
                let mut changed = input.clone();
                changed[at] ^= 0x10;
                assert!(!body(&changed), "{target}/{name} changed at {at}");
            }
        }
    }
}

#[test]
fn every_target_is_in_the_manifest_and_has_its_program() {
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    // Those of audit are held to the same by its own tests.
    let theirs = manifest.matches("name = \"tlog_").count();
    let all = manifest.matches("[[bin]]").count();
    assert_eq!(all - theirs, bodies::TARGETS.len());
    for (target, _) in bodies::TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"")));
        let program = fuzz().join(format!("fuzz_targets/{target}.rs"));
        let program = std::fs::read_to_string(program).unwrap();
        assert!(program.contains(&format!("encryption::{target}(data)")));
    }
}

/// Makes fixture and corpora anew.
mod writing {
    use std::sync::Arc;

    use eonpro_core::port::kv::{KeyValue as _, MemoryKeyValue};
    use eonpro_core::port::{KeyPurpose, Sealer as _};
    use eonpro_core::secret::SecretText;
    use eonpro_core::time::{ManualClock, Timestamp};
    use eonpro_encryption::backend::Keyring;
    use eonpro_encryption::cobblestone::InputKey;
    use eonpro_encryption::{
        Binding, ClientKey, Encryption as _, EncryptionExt as _, FieldSealing, KdfCost, KeyType,
        RecoveryKey, Suite,
    };
    use eonpro_testkit::{scope, tenant_id};

    use super::bodies::{self, Visit};
    use super::fuzz;

    const RECORDS: KeyPurpose = KeyPurpose::RECORDS;

    fn put(target: &str, name: &str, bytes: &[u8]) {
        let folder = fuzz().join("corpus").join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    }

    /// A valid input, and what has to be refused of it.
    fn put_sealed(target: &str, name: &str, bytes: &[u8]) {
        put(target, &format!("valid-{name}"), bytes);
        put(
            target,
            &format!("refused-{name}-cut"),
            &bytes[..bytes.len() - 1],
        );
    }

    fn messages() {
        let key = InputKey::new(&bodies::key_bytes());
        for (name, length) in [
            ("empty", 0),
            ("short", 11),
            ("chunk", 16384),
            ("two", 16390),
        ] {
            let sealed = key.seal(&[bodies::CONTEXT], &vec![b'7'; length]).unwrap();
            put_sealed("message", name, &sealed);
        }
        put("message", "refused-empty", b"");
        put("message", "refused-header", &[0; 56]);
    }

    async fn clients() {
        let sealed = bodies::client_cipher().seal(&bodies::cell(), b"999-12-3456");
        put_sealed("client", "value", &sealed.unwrap());
        let key = ClientKey::new(bodies::client_key_id(), bodies::key_bytes()).unwrap();
        let recovery = RecoveryKey::new(&bodies::key_bytes());
        let wrapped = recovery.wrap(tenant_id(bodies::TENANT), RECORDS, &key);
        put_sealed("client", "recovery", &wrapped.unwrap());
        put("client", "refused-prefix", b"\x01\0\0\0\xf0");
    }

    async fn files() {
        put("key_file", "valid-fixture", bodies::KEY_FILE);
        put("key_record", "refused-empty", b"");
        put("key_file", "refused-empty", b"");
        put(
            "key_file",
            "refused-short-key",
            br#"{"format":"eonpro-key-file","version":1,"id":"a","key":"Bw"}"#,
        );
        put(
            "key_file",
            "refused-newer",
            br#"{"format":"eonpro-key-file","version":2,"id":"a","key":""}"#,
        );

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring.json");
        let passphrase = SecretText::new(bodies::PASSPHRASE.to_owned());
        Keyring::create(&path, &passphrase, KdfCost::FLOOR)
            .await
            .unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        put("keyring", "valid-floor", text.as_bytes());
        for (name, from, to) in [
            ("huge", "\"memory_kib\": 1024", "\"memory_kib\": 4294967295"),
            ("endless", "\"passes\": 1", "\"passes\": 4294967295"),
            ("no-passes", "\"passes\": 1", "\"passes\": 0"),
            ("other-cost", "\"passes\": 1", "\"passes\": 2"),
            ("newer", "\"version\": 1,", "\"version\": 2,"),
            ("argon2d", "argon2id", "argon2d"),
        ] {
            assert!(text.contains(from), "{name}");
            put(
                "keyring",
                &format!("refused-{name}"),
                text.replace(from, to).as_bytes(),
            );
        }
    }

    async fn sealed_by_a_vault() {
        let tenant = scope(bodies::TENANT);
        let clock = Arc::new(ManualClock::at(Timestamp::EPOCH));
        let state = Arc::new(MemoryKeyValue::new(clock));
        let vault = bodies::vault_over(Arc::clone(&state)).await.unwrap();
        vault.provision((&tenant).into()).await.unwrap();
        let types = Suite::ALL.map(|suite| KeyType {
            purpose: RECORDS,
            suite,
        });
        let cipher = vault.warm_for(&tenant, &types).await.unwrap();
        let cell = bodies::cell();

        for (choice, sealing) in bodies::SEALINGS.into_iter().enumerate() {
            for suite in Suite::ALL {
                if suite == Suite::Deterministic && sealing.bind == Binding::Row {
                    continue;
                }
                let cardinality = FieldSealing::MIN_CARDINALITY;
                let sealing = FieldSealing {
                    suite,
                    cardinality,
                    ..sealing
                };
                let mut input = vec![u8::try_from(choice).unwrap()];
                cipher
                    .seal_into(RECORDS, sealing, &cell, b"999-12-3456", &mut input)
                    .unwrap();
                put(
                    "value",
                    &format!("valid-{choice}-{suite:?}").to_lowercase(),
                    &input,
                );
                if suite == Suite::Standard {
                    input[0] ^= 1;
                    put("value", &format!("refused-{choice}-standard"), &input);
                }
            }
        }
        for (name, length) in [
            ("empty", 0),
            ("short", 11),
            ("chunk", 16384),
            ("two", 16390),
        ] {
            let sealed = cipher.seal(RECORDS, &cell, &vec![b'7'; length]).unwrap();
            put_sealed("stream", name, &sealed);
        }
        let files = KeyPurpose::FILES;
        let (_, wrapped) = vault
            .data_key((&tenant).into(), files, &cell)
            .await
            .unwrap();
        put_sealed("wrapped_key", "files", &wrapped.0);
        for picture in [None, Some(vec![7; 20])] {
            let visit = Visit {
                id: bodies::visit_row(),
                note: "a note".into(),
                picture: picture.map(eonpro_encryption::Phi::new),
            };
            let name = if visit.picture.is_some() {
                "both"
            } else {
                "one"
            };
            let sealed = vault.seal_record(&tenant, visit).await.unwrap();
            put_sealed("whole", name, &bodies::join_visit(&sealed));
        }

        let (partition, key) = bodies::record_place();
        let record = state.get(&partition, &key).await.unwrap().unwrap().value;
        std::fs::write(fuzz().join("fixture/key_record.json"), &record).unwrap();
        put("key_record", "valid-fixture", &record);
        let text = String::from_utf8(record.to_vec()).unwrap();
        for (name, from, to) in [
            ("two-primaries", "\"decrypt_only\"", "\"primary\""),
            ("swapped-purposes", "\"files\"", "\"cache \""),
            ("other-root", "key-file:", "key-filf:"),
            ("newer", "\"v\":1", "\"v\":2"),
        ] {
            if text.contains(from) {
                let changed = text.replace(from, to);
                put("key_record", &format!("refused-{name}"), changed.as_bytes());
            }
        }
        vault
            .turn_epoch(&crate::support::chore(), (&tenant).into(), RECORDS.into())
            .await
            .unwrap();
        let turned = state.get(&partition, &key).await.unwrap().unwrap().value;
        put("key_record", "valid-two-epochs", &turned);
        let text = String::from_utf8(turned.to_vec()).unwrap();
        let twice = text.replace("\"decrypt_only\"", "\"primary\"");
        put("key_record", "refused-two-primaries", twice.as_bytes());
    }

    #[tokio::test]
    #[ignore = "writes the fixture and the corpora of crates/fuzz"]
    async fn write_fixture_and_corpora() {
        messages();
        clients().await;
        files().await;
        sealed_by_a_vault().await;
    }
}
