//! What a profile lets in, and what is left behind when it does not.

use std::sync::Arc;

use eonpro::core::port::kv::MemoryKeyValue;
use eonpro::core::time::SystemClock;
use eonpro::core::{Classify as _, ErrorKind};
use eonpro::encryption::backend::EphemeralRoot;
use eonpro::logger::Console;
use eonpro::{EmbeddedDirectory, Foundation, FoundationConfig, FoundationError, Profile, posture};

use crate::house::{Answer, Changed, Deaf, embedded};
use eonpro::core::entropy::SeededEntropy;

fn faults(error: FoundationError) -> Vec<posture::Fault> {
    match error {
        FoundationError::Posture(refused) => refused.faults,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn production_refuses_the_embedded_directory_and_names_every_part_at_fault() {
    let dir = tempfile::tempdir().unwrap();
    let backing = EmbeddedDirectory::at(dir.path());
    let audit = backing.audit();
    let builder = Foundation::builder(Profile::Production)
        .backends(backing)
        .audit(audit)
        .clock(Arc::new(SystemClock::new()))
        .entropy(Arc::new(SeededEntropy::new(1)));
    let error = builder.build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let parts: Vec<_> = faults(error).into_iter().map(|fault| fault.part).collect();
    let backends = [
        "key-file",
        "signature-scanner",
        "static-keys",
        "dev-issuer",
        "key-file-epochs",
        "audit-key-file",
    ];
    assert_eq!(parts[..6], backends);
    // A clock or ids that are not the system's, and alerts that end as lines of a log.
    assert_eq!(parts[6..], ["clock", "entropy", "alerts"]);
    // Refused before anything was built, and closed again: the next one may have the files.
    assert!(!dir.path().join("audit").exists());
    assert!(embedded(dir.path()).await.shutdown().await.is_clean());
}

#[tokio::test]
async fn embedded_refuses_a_store_that_forgets_and_a_root_key_that_dies() {
    let dir = tempfile::tempdir().unwrap();
    let backing = EmbeddedDirectory::at(dir.path());
    let audit = backing.audit();
    let backing = Changed {
        dir: backing,
        change: |backends: &mut eonpro::Backends| {
            backends.state = Arc::new(MemoryKeyValue::new(Arc::new(SystemClock::new())));
            backends.root = Arc::new(EphemeralRoot::generate().unwrap());
        },
    };
    let builder = Foundation::builder(Profile::Embedded)
        .backends(backing)
        .audit(audit);
    let faults = faults(builder.build().await.unwrap_err());
    let parts: Vec<_> = faults.iter().map(|fault| fault.part).collect();
    assert_eq!(parts, ["ephemeral", "memory-kv"]);
    assert!(
        faults
            .iter()
            .all(|fault| fault.reasons.contains(&"volatile"))
    );
}

#[tokio::test]
async fn a_foundation_that_cannot_record_its_start_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let backing = EmbeddedDirectory::at(dir.path());
    let audit = Deaf(backing.audit(), Answer::Refuse);
    let builder = Foundation::builder(Profile::Embedded)
        .backends(backing)
        .audit(audit);
    let error = builder.build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // What was opened was closed: nothing holds the files.
    assert!(embedded(dir.path()).await.shutdown().await.is_clean());
}

#[tokio::test]
async fn a_setting_out_of_its_limits_is_named_before_anything_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = FoundationConfig::default();
    config.listener_queue = 0;
    let at = dir.path().join("data");
    let error = Foundation::embedded(&at)
        .config(config)
        .build()
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "configuration is out of limits: listener_queue of 1 to 2^20"
    );
    assert!(!at.exists());
}

/// A writer whose text the test can read.
#[derive(Clone, Default)]
struct Text(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Text {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_embedded_profile_says_loudly_which_parts_are_for_development() {
    let dir = tempfile::tempdir().unwrap();
    let text = Text::default();
    let console = Console::to(Box::new(text.clone()));
    let foundation = Foundation::embedded(dir.path())
        .log_sink(console)
        .build()
        .await
        .unwrap();
    foundation.logger().flush().await.unwrap();
    let written = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
    let notice = written
        .lines()
        .find(|line| line.contains("NOT FIT FOR PRODUCTION"));
    let notice = notice.expect(&written);
    assert!(notice.contains("\"level\":\"WARN\""), "{notice}");
    for part in ["key-file", "audit-key-file", "dev-issuer"] {
        assert!(notice.contains(part), "{notice}");
    }
    foundation.shutdown().await;
}
