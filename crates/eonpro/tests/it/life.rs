//! A foundation's life: it works, it tells how it is, it ends in order, it comes back.

use eonpro::core::component::Health;
use eonpro::core::id::RowId;
use eonpro::encryption::EncryptionExt as _;
use eonpro::storage::{Category, DocumentRef, DocumentStoreExt as _, MediaType, NewDocument};
use eonpro::tenant::{Migration, SqlValue};
use eonpro::{EmbeddedDirectory, Foundation, FoundationConfig, Profile, Stage, Weight};

use crate::house::{Answer, Deaf, Patient, Slow, admitted, embedded, is_closed, system_codes};

const SCHEMA: [Migration; 1] = [Migration::new(1, &["CREATE TABLE p (sealed BLOB) STRICT"])];

fn patient(foundation: &Foundation) -> Patient {
    Patient {
        id: RowId::random(&**foundation.entropy()),
        nickname: "Ada".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_foundation_comes_back_from_disk_with_everything() {
    let dir = tempfile::tempdir().unwrap();
    let foundation = embedded(dir.path()).await;
    let scope = admitted(&foundation).await;
    let sealed = foundation
        .encryption()
        .seal_record(&scope, patient(&foundation))
        .await
        .unwrap();
    let (row, bytes) = (sealed.id, sealed.nickname.as_bytes().to_vec());
    foundation
        .databases()
        .migrate(&scope, &SCHEMA)
        .await
        .unwrap();
    let insert = foundation.databases().run(&scope, move |db| {
        db.execute(
            "INSERT INTO p (sealed) VALUES (?1)",
            &[SqlValue::from(bytes)],
        )
    });
    insert.await.unwrap();
    let note = NewDocument::new(
        Category::ClinicalDocument,
        MediaType::parse("text/plain").unwrap(),
        "note.txt",
    );
    let stored = foundation
        .documents()
        .put(&scope, note, "Doing well.\n".into())
        .await
        .unwrap();
    let entries = foundation.audit().stats().entries;
    assert!(foundation.shutdown().await.is_clean());

    let foundation = embedded(dir.path()).await;
    // Onboarding the same clinic again is the same tenant: the directory survived.
    let scope = admitted(&foundation).await;
    let read = foundation.databases().run(&scope, |db| {
        db.query_first("SELECT sealed FROM p", &[], |row| {
            row.blob(0).map(<[u8]>::to_vec)
        })
    });
    let sealed = eonpro::core::phi::Sealed::from_bytes(read.await.unwrap().unwrap());
    let twin = SealedTwin::of(row, sealed, &foundation, &scope).await;
    let opened: Patient = foundation
        .encryption()
        .open_record(&scope, twin.0)
        .await
        .unwrap();
    assert_eq!(opened.nickname.expose(), "Ada");
    let at = DocumentRef::current(stored.document);
    let text = foundation
        .documents()
        .read(&scope, &at, 1 << 20)
        .await
        .unwrap();
    assert_eq!(text.as_slice(), b"Doing well.\n");
    assert!(foundation.audit().stats().entries > entries);
    foundation
        .audit()
        .verify(&foundation.chore("check"))
        .await
        .unwrap();
    assert!(foundation.shutdown().await.is_clean());
}

/// A twin put together from stored bytes.
struct SealedTwin(<Patient as eonpro::core::phi::PhiRecord>::Sealed);

impl SealedTwin {
    async fn of(
        row: RowId,
        sealed: eonpro::core::phi::Sealed<String>,
        foundation: &Foundation,
        scope: &eonpro::core::TenantScope,
    ) -> Self {
        let fresh = foundation
            .encryption()
            .seal_record(scope, patient(foundation))
            .await
            .unwrap();
        let mut twin = fresh;
        (twin.id, twin.nickname) = (row, sealed);
        Self(twin)
    }
}

#[tokio::test]
async fn the_start_and_the_end_are_on_record_and_so_are_the_systems_own_keys() {
    let dir = tempfile::tempdir().unwrap();
    let foundation = embedded(dir.path()).await;
    let codes = system_codes(&**foundation.audit(), &foundation.chore("test")).await;
    assert!(codes.contains(&"KEY-001".to_owned()), "{codes:?}");
    assert_eq!(codes.iter().filter(|code| *code == "SYS-001").count(), 1);
    assert!(foundation.shutdown().await.recorded);

    let foundation = embedded(dir.path()).await;
    let codes = system_codes(&**foundation.audit(), &foundation.chore("test")).await;
    assert_eq!(codes.iter().filter(|code| *code == "SYS-002").count(), 1);
    assert_eq!(codes.iter().filter(|code| *code == "SYS-001").count(), 2);
    foundation.shutdown().await;
}

#[tokio::test]
async fn a_healthy_foundation_is_ready_and_a_part_that_ended_shows_by_its_weight() {
    let dir = tempfile::tempdir().unwrap();
    let foundation = embedded(dir.path()).await;
    let health = foundation.health().await;
    assert_eq!(health.overall(), Health::Healthy, "{health:?}");
    foundation.cache().close().await;
    let health = foundation.health().await;
    assert!(matches!(health.overall(), Health::Degraded(_)) && health.is_ready());
    foundation.auth().close().await;
    let health = foundation.health().await;
    assert!(!health.is_ready());
    let auth = health
        .parts
        .iter()
        .find(|part| part.name == "auth")
        .unwrap();
    assert_eq!(auth.weight, Weight::Critical);
    assert!(matches!(auth.health, Health::Unhealthy(_)));
    foundation.shutdown().await;
}

#[tokio::test]
async fn what_announces_ends_before_what_records_and_state_and_logger_last() {
    let dir = tempfile::tempdir().unwrap();
    let foundation = embedded(dir.path()).await;
    let report = foundation.shutdown().await;
    assert!(report.is_clean(), "{report:?}");
    assert!(report.parts.is_sorted_by_key(|part| part.stage));
    let names: Vec<_> = report.parts.iter().map(|part| part.name).collect();
    let at = |name| names.iter().position(|found| *found == name).expect(name);
    for (earlier, later) in [
        ("auth", "audit"),
        ("tenant", "audit"),
        ("storage", "audit"),
        ("cache", "audit"),
        ("hub", "audit"),
        ("audit", "encryption"),
        ("encryption", "redb"),
        ("redb", "metrics"),
        ("metrics", "logger"),
    ] {
        assert!(
            at(earlier) < at(later),
            "{earlier} after {later}: {names:?}"
        );
    }
    assert_eq!(names.last(), Some(&"logger"));
    assert_eq!(
        report.parts.last().map(|part| part.stage),
        Some(Stage::Logger)
    );
}

#[tokio::test]
async fn a_second_shutdown_gives_the_first_report_and_everything_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let foundation = embedded(dir.path()).await;
    let (first, second) = tokio::join!(foundation.shutdown(), foundation.shutdown());
    assert_eq!(first, second);
    assert_eq!(foundation.shutdown().await, first);
    assert!(is_closed(&**foundation.audit()).await);
    assert!(is_closed(&**foundation.encryption()).await);
    assert!(!foundation.health().await.is_ready());
}

#[tokio::test]
async fn events_are_counted_by_code_and_what_a_listener_misses_is_counted_too() {
    let dir = tempfile::tempdir().unwrap();
    let stuck = Slow::stuck();
    let mut config = FoundationConfig::default();
    config.listener_queue = 1;
    let builder = Foundation::embedded(dir.path())
        .listener(stuck.clone())
        .config(config);
    let foundation = builder.build().await.unwrap();
    admitted(&foundation).await;
    stuck.gate.add_permits(10_000);
    foundation.hub().settle().await;
    let text = foundation.metrics().render().unwrap();
    let line = |start: &str| {
        text.lines()
            .find(|line| line.starts_with(start))
            .map(str::to_owned)
    };
    assert!(line("foundation_events_total{").is_some(), "{text}");
    let missed = line("foundation_events_missed_total{listener=\"slow\"}").expect(&text);
    assert!(!missed.ends_with(" 0"), "{missed}");
    foundation.shutdown().await;
}

#[tokio::test]
async fn the_data_map_has_the_records_that_were_taught() {
    let dir = tempfile::tempdir().unwrap();
    let foundation = embedded(dir.path()).await;
    let page = foundation.data_map("the test");
    assert!(
        page.contains("| `nickname` | `nickname` | sealed |"),
        "{page}"
    );
    foundation.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_whose_caller_goes_away_still_ends_once() {
    let dir = tempfile::tempdir().unwrap();
    let foundation = embedded(dir.path()).await;
    {
        let mut asked = Box::pin(foundation.shutdown());
        // Polled once, so that it has begun; then dropped.
        std::future::poll_fn(|task| {
            let _ = asked.as_mut().poll(task);
            std::task::Poll::Ready(())
        })
        .await;
    }
    assert!(foundation.shutdown().await.is_clean());
    let foundation = embedded(dir.path()).await;
    let codes = system_codes(&**foundation.audit(), &foundation.chore("test")).await;
    assert_eq!(codes.iter().filter(|code| *code == "SYS-002").count(), 1);
    foundation.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_that_does_not_answer_holds_up_no_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let backing = EmbeddedDirectory::at(dir.path());
    let audit = Deaf(backing.audit(), Answer::NeverAtTheEnd);
    let mut config = FoundationConfig::default();
    config.step_budget = std::time::Duration::from_millis(300);
    let builder = Foundation::builder(Profile::Embedded)
        .backends(backing)
        .audit(audit)
        .config(config);
    let report = builder.build().await.unwrap().shutdown().await;
    assert!(!report.recorded);
    assert!(report.parts.iter().any(|part| part.stage == Stage::Logger));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foundation_dropped_without_a_shutdown_frees_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let foundation = embedded(dir.path()).await;
    admitted(&foundation).await;
    drop(foundation);
    // Its threads end by themselves, after what they had to write.
    let again = loop {
        let builder = Foundation::embedded(dir.path()).records::<(Patient,)>();
        match builder.build().await {
            Ok(again) => break again,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert!(again.shutdown().await.is_clean());
}
