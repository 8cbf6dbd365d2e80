//! Blind indexes rotated online, over two processes; numbers and compounds at work.

use std::time::Duration;

use eonpro_core::entropy::SeededEntropy;
use eonpro_core::id::RowId;
use eonpro_core::phi::IndexSlots;
use eonpro_core::port::{SealError, SealScope, Sealer as _};
use eonpro_core::time::{Clock as _, Timestamp};
use eonpro_core::{Classify as _, ErrorKind, TenantScope};
use eonpro_encryption::{
    CryptoError, Encryption, EncryptionExt as _, IndexDef, IndexScan, IndexStatus, Phi, PhiRecord,
    SETTLE_MARGIN, Vault,
};
use eonpro_testkit::scope;
use rusqlite::Connection;

use crate::support::{House, chore};

#[derive(Debug, PhiRecord)]
#[phi(
    table = "patients",
    index(
        name = "name_born",
        fields(family: "folded", born: "year"),
        bits = 32
    )
)]
struct Patient {
    #[phi(row)]
    id: RowId,
    #[phi(seal, index(normalizer = "digits"))]
    ssn: Phi<String>,
    #[phi(seal, index(normalizer = "prefix:3", bits = 16))]
    family: Phi<String>,
    #[phi(seal)]
    born: Option<Phi<String>>,
    #[phi(
        seal,
        index(name = "exact"),
        index(name = "decade", normalizer = "bucket:10")
    )]
    age: Phi<i64>,
    #[phi(seal, index)]
    smoker: Option<Phi<bool>>,
    #[phi(seal, index(normalizer = "e164:1"))]
    phone: Option<Phi<String>>,
}

const SSN: &IndexDef = &Patient::SSN_INDEX;

/// The `cache_ttl` of every vault here.
const TTL: Duration = Duration::from_secs(300);

fn patient(number: u64) -> Patient {
    Patient {
        id: RowId::random(&SeededEntropy::new(number)),
        ssn: format!("999-12-{number:04}").as_str().into(),
        family: "Lovelace".into(),
        born: Some("1815-12-10".into()),
        age: Phi::new(36),
        smoker: Some(Phi::new(false)),
        phone: None,
    }
}

fn now(house: &House) -> Timestamp {
    house.clock.wall()
}

fn clean(house: &House) -> IndexScan {
    IndexScan {
        begun_at: now(house),
        rows: 1,
        left: 0,
    }
}

async fn slots_of(vault: &Vault, scope: &TenantScope, ssn: &str) -> IndexSlots {
    let cipher = vault.warm(scope).await.unwrap();
    cipher.index(SSN, &[ssn]).unwrap()
}

#[tokio::test]
async fn a_number_is_found_by_itself_and_by_its_bucket() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let sealed = house.vault.seal_record(&ours, patient(1)).await.unwrap();
    let query = |index, age: i64| {
        let (vault, ours) = (house.vault.clone(), ours.clone());
        async move {
            vault
                .query_value(&ours, index, &Phi::new(age))
                .await
                .unwrap()
        }
    };
    let (exact, decade) = (&Patient::AGE_EXACT_INDEX, &Patient::AGE_DECADE_INDEX);
    assert!(query(exact, 36).await.finds(&sealed.age_exact_index));
    assert!(!query(exact, 37).await.finds(&sealed.age_exact_index));
    assert!(query(decade, 30).await.finds(&sealed.age_decade_index));
    assert!(query(decade, 39).await.finds(&sealed.age_decade_index));
    assert!(!query(decade, 40).await.finds(&sealed.age_decade_index));
    let no = Phi::new(false);
    let no = house.vault.query_value(&ours, &Patient::SMOKER_INDEX, &no);
    assert!(no.await.unwrap().finds(&sealed.smoker_index));
    let opened: Patient = house.vault.open_record(&ours, sealed).await.unwrap();
    assert_eq!(*opened.age.expose(), 36);
}

#[tokio::test]
async fn a_compound_is_found_by_all_its_values_together() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let sealed = house.vault.seal_record(&ours, patient(1)).await.unwrap();
    let finds = |family: &'static str, born: &'static str| {
        let (vault, ours, stored) = (house.vault.clone(), ours.clone(), &sealed.name_born_index);
        async move {
            let texts = [&Phi::from(family), &Phi::from(born)];
            let query = vault.query_compound(&ours, &Patient::NAME_BORN_INDEX, &texts);
            query.await.unwrap().finds(stored)
        }
    };
    assert!(finds("LOVELACE", "1815-01-01").await);
    assert!(finds("lovelace ", "1815").await);
    assert!(!finds("Lovelace", "1816").await);
    assert!(!finds("Byron", "1815").await);
    assert!(!finds("1815", "1815").await);

    let names: Vec<_> = Patient::SCHEMA.indexes().map(|index| index.name).collect();
    assert_eq!(
        names,
        [
            "ssn",
            "family",
            "exact",
            "decade",
            "smoker",
            "phone",
            "name_born"
        ]
    );
    assert_eq!(Patient::NAME_BORN_INDEX.column(), None);
    let mut unborn = patient(2);
    unborn.born = None;
    let sealed = house.vault.seal_record(&ours, unborn).await.unwrap();
    assert!(sealed.name_born_index.is_empty());
}

#[tokio::test]
async fn what_is_absent_or_empty_has_no_token_and_is_not_asked_for() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let mut empty = patient(1);
    (empty.ssn, empty.smoker) = ("unknown".into(), None);
    let sealed = house.vault.seal_record(&ours, empty).await.unwrap();
    assert!(sealed.ssn_index.is_empty() && sealed.smoker_index.is_empty());
    assert!(sealed.phone_index.is_empty());

    let asked = house.vault.query_slots(&ours, SSN, &"unknown".into()).await;
    let Err(error @ CryptoError::Seal(SealError::EmptyQuery)) = asked else {
        panic!("{asked:?}");
    };
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_value_that_does_not_fit_its_rule_is_refused_without_being_told() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let mut odd = patient(1);
    odd.phone = Some("call my mother".into());
    let refused = house.vault.seal_record(&ours, odd).await.unwrap_err();
    assert!(matches!(
        refused,
        CryptoError::Seal(SealError::Unindexable { .. })
    ));
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert_eq!(
        refused.to_string(),
        "a value does not fit the rule of blind index phone in table patients"
    );
}

#[tokio::test]
async fn an_index_that_was_never_rotated_is_stable_at_its_first_version() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let status = house.vault.index_status((&ours).into(), SSN).await.unwrap();
    assert_eq!(status, IndexStatus::Stable { version: 1 });
    let later = IndexDef { version: 4, ..*SSN };
    let cipher = house.vault.warm(&ours).await.unwrap();
    let version = IndexStatus::Stable { version: 4 };
    assert_eq!(cipher.index_status(&later).unwrap(), version);
    let slots = cipher.index(&later, &["9"]).unwrap();
    assert!(slots.odd.is_none() && slots.version(4).is_some());
}

#[tokio::test]
async fn a_rotation_writes_and_asks_for_what_each_phase_says_in_this_process_at_once() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let (vault, at) = (&house.vault, SealScope::from(&ours));
    let cipher = vault.warm(&ours).await.unwrap();
    let one = slots_of(vault, &ours, "9").await;
    assert!(one.odd.is_some() && one.even.is_none());

    let adding = vault
        .begin_index_rotation(ours.cx(), at, SSN)
        .await
        .unwrap();
    let settled_at = now(&house).plus(TTL).plus(SETTLE_MARGIN);
    let (old, new) = (1, 2);
    assert_eq!(
        adding,
        IndexStatus::Adding {
            old,
            new,
            settled_at
        }
    );
    let both = slots_of(vault, &ours, "9").await;
    assert_eq!(both.odd, one.odd);
    assert!(both.version(2).is_some());
    // A cipher from before writes both as well, and other indexes go on as they were.
    assert_eq!(cipher.index(SSN, &["9"]).unwrap(), both);
    assert_eq!(cipher.query(SSN, &["9"]).unwrap(), both);
    let other = cipher.index_status(&Patient::FAMILY_INDEX).unwrap();
    assert_eq!(other, IndexStatus::Stable { version: 1 });

    house.advance(TTL + SETTLE_MARGIN);
    let dropping = vault
        .finish_index_rotation(ours.cx(), at, SSN, clean(&house))
        .await
        .unwrap();
    assert_eq!(dropping.live(), (2, None));
    let two = slots_of(vault, &ours, "9").await;
    assert_eq!((two.odd.as_ref(), &two.even), (None, &both.even));

    house.advance(TTL + SETTLE_MARGIN);
    let stable = vault
        .retire_index_version(ours.cx(), at, SSN, clean(&house))
        .await
        .unwrap();
    assert_eq!(stable, IndexStatus::Stable { version: 2 });
    assert_eq!(vault.index_status(at, SSN).await.unwrap(), stable);
    assert_eq!(slots_of(vault, &ours, "9").await, two);

    // The next rotation goes on with version 3, in the slot of version 1, with another token.
    vault
        .begin_index_rotation(ours.cx(), at, SSN)
        .await
        .unwrap();
    let three = slots_of(vault, &ours, "9").await;
    assert_eq!(three.even, two.even);
    assert!(three.version(3).is_some());
    let tail = |slots: &IndexSlots| {
        slots
            .odd
            .as_ref()
            .map(|token| token.as_bytes()[1..].to_vec())
    };
    assert_ne!(tail(&three), tail(&one));
}

#[tokio::test]
async fn each_move_is_on_record_as_a_rotation_of_a_search_key() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let (vault, at, cx) = (&house.vault, SealScope::from(&ours), ours.cx());
    for index in [SSN, &Patient::NAME_BORN_INDEX] {
        vault.begin_index_rotation(cx, at, index).await.unwrap();
    }
    house.advance(TTL + SETTLE_MARGIN);
    let scan = clean(&house);
    vault
        .finish_index_rotation(cx, at, SSN, scan)
        .await
        .unwrap();
    house.advance(TTL + SETTLE_MARGIN);
    let scan = clean(&house);
    vault.retire_index_version(cx, at, SSN, scan).await.unwrap();

    assert_eq!(house.sink.codes(), ["KEY-002"; 4]);
    let told: Vec<String> = house
        .sink
        .events()
        .iter()
        .map(|event| format!("{event:?}"))
        .collect();
    for (event, key) in told.iter().zip([
        "/search/patients.ssn.ssn/adding",
        "/search/patients.name_born/adding",
        "/search/patients.ssn.ssn/dropping",
        "/search/patients.ssn.ssn/stable",
    ]) {
        assert!(event.contains(key), "{key} in {event}");
    }
}

#[tokio::test]
async fn a_move_that_cannot_be_recorded_stands_and_says_so() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    house.sink.set_down(true);
    let at = SealScope::from(&ours);
    let begun = house.vault.begin_index_rotation(ours.cx(), at, SSN).await;
    assert!(matches!(begun, Err(CryptoError::Unaudited(_))));
    let status = house.vault.index_status(at, SSN).await.unwrap();
    assert_eq!(status.name(), "adding");
}

#[tokio::test]
async fn no_move_comes_early_out_of_turn_or_unproven() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let (vault, at, cx) = (&house.vault, SealScope::from(&ours), ours.cx());
    let refused = vault
        .finish_index_rotation(cx, at, SSN, clean(&house))
        .await;
    assert!(matches!(refused, Err(CryptoError::IndexPhase(_))));
    vault.begin_index_rotation(cx, at, SSN).await.unwrap();
    let again = vault.begin_index_rotation(cx, at, SSN).await;
    assert!(matches!(again, Err(CryptoError::IndexPhase(_))));

    house.advance(TTL + SETTLE_MARGIN - Duration::from_secs(1));
    let early = clean(&house);
    let refused = vault.finish_index_rotation(cx, at, SSN, early).await;
    let Err(error @ CryptoError::IndexUnsettled { .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(error.kind(), ErrorKind::Conflict);

    house.advance(Duration::from_secs(1));
    let left = IndexScan {
        left: 1,
        ..clean(&house)
    };
    for scan in [early, left] {
        let refused = vault.finish_index_rotation(cx, at, SSN, scan).await;
        assert!(matches!(refused, Err(CryptoError::IndexScan(_))));
    }
    assert_eq!(house.sink.codes(), ["KEY-002"]);
    assert_eq!(
        vault.index_status(at, SSN).await.unwrap().name(),
        "adding",
        "refused moves change nothing"
    );
    let impossible = IndexDef { bits: 9, ..*SSN };
    let refused = vault.begin_index_rotation(cx, at, &impossible).await;
    assert!(matches!(
        refused,
        Err(CryptoError::Seal(SealError::Unsupported))
    ));
}

#[tokio::test]
async fn of_two_processes_that_move_at_once_exactly_one_does() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let at = SealScope::from(&ours);
    let other = house.another_process().await;
    // Both read the record before either commits: the root takes its time.
    let (one, two) = tokio::join!(
        house.vault.begin_index_rotation(ours.cx(), at, SSN),
        other.begin_index_rotation(ours.cx(), at, SSN),
    );
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1);
    assert_eq!(house.sink.codes(), ["KEY-002"]);
}

#[tokio::test]
async fn of_racing_begins_one_wins_and_a_rival_commit_is_kept() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let at = SealScope::from(&ours);
    let rival = house.another_process().await;
    // Just before the commit, the rival turns the epoch of records.
    house.store.let_rival_win_once(rival.clone(), at);
    let cx = chore();
    let (one, two) = tokio::join!(
        house.vault.begin_index_rotation(&cx, at, SSN),
        rival.begin_index_rotation(&cx, at, SSN),
    );
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1);
    let lost = one.and(two).unwrap_err();
    assert!(matches!(lost, CryptoError::IndexPhase(_)), "{lost:?}");
    let keys = house.vault.keys(at).await.unwrap();
    assert!(keys.iter().any(|key| key.epoch == 2));
    let status = rival.index_status(at, SSN).await.unwrap();
    assert_eq!(status.live(), (1, Some(2)));
}

#[tokio::test]
async fn a_rotation_survives_a_rewrap_an_epoch_and_another_process() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let (vault, at) = (&house.vault, SealScope::from(&ours));
    let begun = vault
        .begin_index_rotation(ours.cx(), at, SSN)
        .await
        .unwrap();
    let before = slots_of(vault, &ours, "9").await;
    assert!(house.record(at).await.starts_with(r#"{"v":2,"#));
    vault.rewrap_keys(ours.cx(), at).await.unwrap();
    vault
        .turn_epoch(ours.cx(), at, crate::support::RECORDS.into())
        .await
        .unwrap();
    let other = house.another_process().await;
    assert_eq!(other.index_status(at, SSN).await.unwrap(), begun);
    assert_eq!(slots_of(&other, &ours, "9").await, before);
}

#[tokio::test]
async fn another_process_acts_by_the_phase_once_it_is_settled() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let other = house.another_process().await;
    let one = slots_of(&other, &ours, "9").await;
    let at = SealScope::from(&ours);
    let begun = house.vault.begin_index_rotation(ours.cx(), at, SSN).await;
    let settled_at = begun.unwrap().settled_at().unwrap();
    // It still acts by the phase before: that is why a backfill must wait.
    assert_eq!(slots_of(&other, &ours, "9").await, one);
    house.advance(settled_at.since(now(&house)));
    let both = slots_of(&other, &ours, "9").await;
    assert!(both.version(1).is_some() && both.version(2).is_some());
}

/// A table with one column for each slot, each of them unique.
struct Table(Connection);

impl Table {
    fn new() -> Self {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE patients (row INTEGER PRIMARY KEY, ssn TEXT NOT NULL, \
             odd BLOB UNIQUE, even BLOB UNIQUE) STRICT",
        )
        .unwrap();
        Self(db)
    }

    fn insert(&self, ssn: &str, slots: &IndexSlots) -> Result<usize, rusqlite::Error> {
        self.0.execute(
            "INSERT INTO patients (ssn, odd, even) VALUES (?1, ?2, ?3)",
            (ssn, odd(slots), even(slots)),
        )
    }

    /// How SQLite means to answer a query.
    fn plan(&self) -> String {
        let sql = "EXPLAIN QUERY PLAN SELECT * FROM patients WHERE odd = ?1 OR even = ?2";
        let mut plan = self.0.prepare(sql).unwrap();
        let steps = plan.query_map((&[0_u8][..], &[0_u8][..]), |row| row.get(3));
        let steps: Vec<String> = steps.unwrap().map(Result::unwrap).collect();
        steps.join("; ")
    }

    fn finds(&self, query: &IndexSlots) -> u64 {
        let sql = "SELECT count(*) FROM patients WHERE odd = ?1 OR even = ?2";
        self.count(sql, (odd(query), even(query)))
    }

    fn count(&self, sql: &str, parameters: impl rusqlite::Params) -> u64 {
        let count: i64 = self.0.query_row(sql, parameters, |row| row.get(0)).unwrap();
        count.try_into().unwrap()
    }

    /// Gives every row what the phase of `vault` writes.
    async fn rewrite(&self, vault: &Vault, scope: &TenantScope) {
        let cipher = vault.warm(scope).await.unwrap();
        let mut all = self.0.prepare("SELECT row, ssn FROM patients").unwrap();
        let rows: Vec<(i64, String)> = all
            .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        for (row, ssn) in rows {
            let slots = cipher.index(SSN, &[&ssn]).unwrap();
            let sql = "UPDATE patients SET odd = ?2, even = ?3 WHERE row = ?1";
            self.0
                .execute(sql, (row, odd(&slots), even(&slots)))
                .unwrap();
        }
    }

    fn scan(&self, house: &House, left: &str) -> IndexScan {
        IndexScan {
            begun_at: now(house),
            rows: self.count("SELECT count(*) FROM patients", ()),
            left: self.count(&format!("SELECT count(*) FROM patients WHERE {left}"), ()),
        }
    }
}

fn odd(slots: &IndexSlots) -> Option<&[u8]> {
    slots.odd.as_ref().map(|token| token.as_bytes())
}

fn even(slots: &IndexSlots) -> Option<&[u8]> {
    slots.even.as_ref().map(|token| token.as_bytes())
}

#[test]
fn a_query_by_both_slots_is_answered_from_their_indexes_and_reads_no_whole_table() {
    let plan = Table::new().plan();
    assert!(
        plan.contains("MULTI-INDEX OR") && !plan.contains("SCAN"),
        "{plan}"
    );
}

/// One process knows the new phase at once, the other as late as it may. Whatever either writes in
/// any phase: each sees the rows of both, and no value gets in twice.
#[tokio::test]
async fn uniqueness_and_hits_never_lapse_in_a_whole_rotation_with_a_late_process() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let at = SealScope::from(&ours);
    let (vault, late) = (&house.vault, house.another_process().await);
    let table = Table::new();
    let mut next = 0;
    for round in 0..2 {
        let (old, new) = [("odd", "even"), ("even", "odd")][round];
        for phase in ["stable", "adding", "dropping"] {
            // The late process keeps the keys that it fetched before the move.
            late.warm(&ours).await.unwrap();
            let missing = format!("{new} IS NULL");
            let status = match phase {
                "stable" => vault.index_status(at, SSN).await,
                "adding" => vault.begin_index_rotation(ours.cx(), at, SSN).await,
                _ => {
                    table.rewrite(vault, &ours).await;
                    let scan = table.scan(&house, &missing);
                    vault.finish_index_rotation(ours.cx(), at, SSN, scan).await
                }
            };
            let wait = status.unwrap().settled_at().map(|at| at.since(now(&house)));
            for settled in [false, true] {
                if settled {
                    house.advance(wait.unwrap_or_default());
                }
                for writer in [vault, &late] {
                    next += 1;
                    let ssn = format!("{next:09}");
                    let slots = slots_of(writer, &ours, &ssn).await;
                    table.insert(&ssn, &slots).unwrap();
                    for reader in [vault, &late] {
                        let again = slots_of(reader, &ours, &ssn).await;
                        let twice = table.insert(&ssn, &again);
                        assert!(twice.is_err(), "{ssn} twice: {round} {phase} {settled}");
                        for known in 1..=next {
                            let text = Phi::from(format!("{known:09}").as_str());
                            let query = reader.query_slots(&ours, SSN, &text).await.unwrap();
                            assert_eq!(table.finds(&query), 1, "{known} {round} {phase} {settled}");
                        }
                    }
                }
            }
        }
        table.rewrite(vault, &ours).await;
        let scan = table.scan(&house, &format!("{old} IS NOT NULL"));
        let stable = vault.retire_index_version(ours.cx(), at, SSN, scan).await;
        let version = u8::try_from(round).unwrap() + 2;
        assert_eq!(stable.unwrap(), IndexStatus::Stable { version });
    }
}

#[tokio::test]
async fn an_index_of_the_system_rotates_as_well_and_a_shredded_scope_has_none() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    house.vault.provision(SealScope::System).await.unwrap();
    let begun = house
        .vault
        .begin_index_rotation(&chore(), SealScope::System, SSN)
        .await;
    assert_eq!(begun.unwrap().live(), (1, Some(2)));
    let status = house.vault.index_status((&ours).into(), SSN).await.unwrap();
    assert_eq!(status, IndexStatus::Stable { version: 1 });
    house.vault.destroy_scope((&ours).into()).await.unwrap();
    for refused in [
        house.vault.index_status((&ours).into(), SSN).await,
        house
            .vault
            .begin_index_rotation(&chore(), (&ours).into(), SSN)
            .await,
    ] {
        assert!(matches!(
            refused,
            Err(CryptoError::Seal(SealError::Shredded))
        ));
    }
}
