//! The corpora of the fuzz targets, replayed: `crates/fuzz` without a fuzzer.

use std::path::{Path, PathBuf};

/// The bodies of the targets, as the fuzzer runs them.
#[path = "../../../fuzz/src/audit.rs"]
mod bodies;

/// The most inputs of one corpus: it is read by every run of the tests.
const MOST: usize = 20;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
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
        assert!(corpus.iter().any(|(name, _)| name.starts_with("valid-")));
        assert!(corpus.iter().any(|(name, _)| name.starts_with("refused-")));
        for (name, input) in corpus {
            assert_eq!(body(&input), name.starts_with("valid-"), "{target}/{name}");
        }
    }
}

#[test]
fn no_target_fails_on_a_valid_input_that_was_cut_or_changed() {
    for (target, body) in bodies::TARGETS {
        for (_, input) in corpus(target) {
            for at in 0..input.len() {
                let _accepted = body(&input[..at]);
                for flip in [0x01, 0x10, 0x80] {
                    let mut changed = input.clone();
                    changed[at] ^= flip;
                    let _accepted = body(&changed);
                }
            }
        }
    }
}

#[test]
fn every_target_is_in_the_manifest_and_has_its_program() {
    let manifest = std::fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let ours = manifest
        .lines()
        .filter(|line| line.starts_with("name = \"tlog_"));
    assert_eq!(ours.count(), bodies::TARGETS.len());
    for (target, _) in bodies::TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"")));
        let program = fuzz().join(format!("fuzz_targets/{target}.rs"));
        let program = std::fs::read_to_string(program).unwrap();
        assert!(program.contains(&format!("audit::{target}(data)")));
    }
}

/// Makes the corpora anew.
mod writing {
    use eonpro_audit::VerifyingKey;
    use eonpro_audit::merkle::{leaf_hash, node_hash};
    use eonpro_audit::tlog::{
        AddCheckpoint, Answer, Cosignature, KeyKind, KeyName, Note, OfflineProof, Refusal,
        SignatureLine, TreeHead, VerifierKey, write_bundle,
    };
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    use super::bodies::{ENTRY, ORIGIN};
    use super::fuzz;

    fn put(target: &str, name: &str, bytes: impl AsRef<[u8]>) {
        let folder = fuzz().join("corpus").join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    }

    fn pair(seed: u8) -> (Ed25519KeyPair, VerifyingKey) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        (pair, VerifyingKey::from_bytes(public))
    }

    fn key(name: &str, kind: KeyKind, seed: u8) -> VerifierKey {
        VerifierKey::new(KeyName::parse(name).unwrap(), kind, pair(seed).1)
    }

    fn log() -> VerifierKey {
        key(ORIGIN, KeyKind::Note, 1)
    }

    fn witness() -> VerifierKey {
        key("witness.example", KeyKind::Cosignature, 2)
    }

    fn log_line(text: &str) -> SignatureLine {
        log().line(pair(1).0.sign(text.as_bytes()).as_ref())
    }

    fn witness_line(text: &str) -> SignatureLine {
        let time = 1_700_000_000;
        let message = Cosignature::message(time, text).unwrap();
        let signature = pair(2).0.sign(message.as_bytes());
        let made = Cosignature::new(time, signature.as_ref().try_into().unwrap()).unwrap();
        witness().line(&made.to_bytes())
    }

    /// Both leaves are alike.
    fn head() -> TreeHead {
        let leaf = leaf_hash(ENTRY);
        TreeHead::new(ORIGIN, 2, node_hash(&leaf, &leaf)).unwrap()
    }

    fn checkpoint() -> Note {
        let text = head().to_string();
        Note::new(text.clone(), vec![log_line(&text), witness_line(&text)]).unwrap()
    }

    fn texts() {
        let (log, witness) = (log(), witness());
        put("tlog_vkey", "valid-log", log.to_string());
        put("tlog_vkey", "valid-witness", witness.to_string());
        put(
            "tlog_vkey",
            "refused-id",
            log.to_string().replacen("a+", "b+", 1),
        );
        put("tlog_vkey", "refused-empty", "");

        let policy = format!("log {log}\nwitness w {witness}\ngroup g 1 w\nquorum g\n");
        put("tlog_policy", "valid-corpus", &policy);
        put("tlog_policy", "valid-nobody", "# nobody\n\tquorum  none \n");
        put(
            "tlog_policy",
            "refused-no-quorum",
            policy.replace("quorum", "#"),
        );
        put(
            "tlog_policy",
            "refused-threshold",
            policy.replace("g 1 w", "g 2 w"),
        );
        put("tlog_policy", "refused-empty", "");

        for (name, path) in [
            ("valid-tile", "tile/1/x001/x234/067.p/44"),
            ("valid-entries", "tile/entries/000"),
            ("valid-last", "tile/0/x018/x446/x744/x073/x709/x551/615"),
            ("refused-beyond", "tile/0/x018/x446/x744/x073/x709/x551/616"),
            ("refused-zeros", "tile/0/x000/001"),
            ("refused-full", "tile/0/000.p/256"),
        ] {
            put("tlog_path", name, path);
        }
    }

    fn signed() {
        let (note, text) = (checkpoint(), head().to_string());
        put("tlog_note", "valid-checkpoint", note.to_string());
        let extended = head().with_extension("extension").unwrap().to_string();
        let lines = vec![log_line(&extended), witness_line(&extended)];
        let extended = Note::new(extended, lines).unwrap();
        put("tlog_note", "valid-extension", extended.to_string());
        let alone = Note::new(text.clone(), vec![log_line(&text)]).unwrap();
        put("tlog_note", "refused-no-witness", alone.to_string());
        put(
            "tlog_note",
            "refused-size",
            note.to_string().replacen("\n2\n", "\n3\n", 1),
        );
        put("tlog_note", "refused-cut", note.to_string().trim_end());

        let proof = OfflineProof::new(1, vec![leaf_hash(ENTRY)], note.clone()).unwrap();
        put("tlog_proof", "valid-plain", proof.to_string());
        let extra = proof.clone().with_extra(ENTRY.to_vec()).unwrap();
        put("tlog_proof", "valid-extra", extra.to_string());
        let longer = vec![leaf_hash(ENTRY); 2];
        let longer = OfflineProof::new(1, longer, note.clone()).unwrap();
        put("tlog_proof", "refused-longer", longer.to_string());
        put(
            "tlog_proof",
            "refused-version",
            proof.to_string().replace("@v1", "@v2"),
        );

        let request = AddCheckpoint::new(0, Vec::new(), note.clone()).unwrap();
        put("tlog_request", "valid-first", request.to_string());
        let conflict = AddCheckpoint::new(1, vec![leaf_hash(ENTRY)], note).unwrap();
        put("tlog_request", "refused-conflict", conflict.to_string());
        put(
            "tlog_request",
            "refused-cut",
            request.to_string().trim_end(),
        );

        let cosigned = Answer::Cosigned(vec![witness_line(&text)]).body();
        put("tlog_answer", "valid-cosigned", format!("\0{cosigned}"));
        let conflict = Answer::Refused(Refusal::Conflict { size: 20 }).body();
        put("tlog_answer", "valid-conflict", format!("\u{4}{conflict}"));
        put("tlog_answer", "valid-unknown-log", "\u{3}not here");
        put("tlog_answer", "refused-conflict", "\u{4}020\n");
        put("tlog_answer", "refused-nothing", "\0");
    }

    #[test]
    #[ignore = "writes the corpora of crates/fuzz"]
    fn write_the_corpora() {
        texts();
        signed();
        let bundle = write_bundle(&[ENTRY, b"", &[7; 300]]).unwrap();
        put(
            "tlog_bundle",
            "valid-three",
            [&[3], bundle.as_slice()].concat(),
        );
        put(
            "tlog_bundle",
            "refused-two",
            [&[2], bundle.as_slice()].concat(),
        );
        put(
            "tlog_bundle",
            "refused-four",
            [&[4], bundle.as_slice()].concat(),
        );
        put("tlog_bundle", "refused-empty", "");
    }
}
