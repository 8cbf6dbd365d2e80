//! Blind indexes moved to their next version, row by row.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::component::Component as _;
use eonpro_core::phi::{Column, IndexDef, IndexPart, Normalizer, Table};
use eonpro_core::port::Sealer as _;
use eonpro_encryption::{
    Encryption as _, IndexColumns, IndexStatus, Phase, RotationKind, Rotator, RotatorParts,
};
use eonpro_testkit::scope;
use futures_util::FutureExt as _;

use crate::rotation::{SSN, cell, drive, few, row, seal};
use crate::rows::MemoryRows;
use crate::support::{House, RECORDS};

const SSN_INDEX: IndexDef = IndexDef {
    table: Table::new("patients"),
    name: "ssn",
    bits: 64,
    version: 1,
    parts: &[IndexPart {
        column: SSN,
        normalizer: Normalizer::Exact,
    }],
};
const ODD: Column = Column::new("ssn_odd");
const EVEN: Column = Column::new("ssn_even");

#[tokio::test]
async fn an_index_gets_its_next_version_and_every_row_is_found_throughout() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let rows = Arc::new(MemoryRows::new("patients", &[SSN], &[ODD, EVEN]));
    for number in 0..9 {
        let sealed = seal(&house.vault, &ours, number).await;
        rows.put(&ours, &row(number), "ssn", &sealed);
        let cipher = house.vault.warm(&ours).await.unwrap();
        let name = String::from_utf8(row(number)).unwrap();
        let slots = cipher.index(&SSN_INDEX, &[&name]).unwrap();
        rows.put(
            &ours,
            &row(number),
            "ssn_odd",
            slots.odd.unwrap().as_bytes(),
        );
    }
    let rotator = Rotator::new(RotatorParts {
        vault: house.vault.clone(),
        sources: vec![Arc::<MemoryRows>::clone(&rows)],
        config: few(),
    })
    .unwrap();
    let kind = RotationKind::Reindex(IndexColumns::of_text(&SSN_INDEX, ODD, EVEN));
    rotator.plan(&ours, &kind).await.unwrap();
    let found_everywhere = async || {
        let cipher = house.vault.warm(&ours).await.unwrap();
        for (row, columns) in rows.all(&ours) {
            let name = String::from_utf8(row).unwrap();
            let query = cipher.query(&SSN_INDEX, &[&name]).unwrap();
            let held = |name| columns.get(name).cloned().flatten();
            let odd = query
                .odd
                .is_some_and(|token| held("ssn_odd") == Some(token.into_bytes()));
            let even = query
                .even
                .is_some_and(|token| held("ssn_even") == Some(token.into_bytes()));
            assert!(odd || even);
        }
    };
    let mut run = Box::pin(rotator.run(&ours, &kind));
    let mut polls = 0_u32;
    let status = loop {
        if let Some(done) = (&mut run).now_or_never() {
            break done.unwrap();
        }
        tokio::task::yield_now().await;
        found_everywhere().await;
        polls += 1;
        if polls.is_multiple_of(40) {
            house.advance(Duration::from_secs(5));
        }
    };
    assert_eq!(status.phase, Phase::Completed);
    found_everywhere().await;
    let index = house.vault.index_status((&ours).into(), &SSN_INDEX).await;
    assert_eq!(index.unwrap(), IndexStatus::Stable { version: 2 });
    for (_, columns) in rows.all(&ours) {
        assert_eq!(columns["ssn_odd"], None);
        assert_eq!(columns["ssn_even"].as_ref().unwrap()[0], 2);
    }
}

const YEAR_INDEX: IndexDef = IndexDef {
    name: "year",
    parts: &[IndexPart {
        column: SSN,
        normalizer: Normalizer::Year,
    }],
    ..SSN_INDEX
};

#[tokio::test]
async fn a_row_whose_text_has_no_token_is_named_and_does_not_keep_the_others_from_theirs() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let rows = Arc::new(MemoryRows::new("patients", &[SSN], &[ODD, EVEN]));
    let fill = async |number: usize, text: &str| {
        let place = row(number);
        let sealed = house
            .vault
            .seal((&ours).into(), RECORDS, &cell(&place), text.as_bytes())
            .await;
        rows.put(&ours, &place, "ssn", &sealed.unwrap());
        rows.put(&ours, &place, "ssn_odd", b"\x01token");
    };
    for number in 0..8 {
        let text = match number {
            3 => "no date".to_owned(),
            6 => "x".repeat(64 * 1024 + 1),
            _ => "1985-03-01".to_owned(),
        };
        fill(number, &text).await;
    }
    let rotator = Rotator::new(RotatorParts {
        vault: house.vault.clone(),
        sources: vec![Arc::<MemoryRows>::clone(&rows)],
        config: few(),
    })
    .unwrap();
    let kind = RotationKind::Reindex(IndexColumns::of_text(&YEAR_INDEX, ODD, EVEN));
    rotator.plan(&ours, &kind).await.unwrap();
    let status = drive(&house, rotator.run(&ours, &kind)).await.unwrap();
    assert_eq!((status.phase, status.unopened), (Phase::Failed, 2));
    assert_eq!((status.updated, status.remaining), (6, 2));
    let positions: Vec<_> = status.failed.iter().map(|row| row.position).collect();
    assert_eq!(positions, [4, 7]);
    for number in [0, 1, 2, 4, 5, 7] {
        let token = rows.get(&ours, &row(number), "ssn_even");
        assert_eq!(token.unwrap().first(), Some(&2));
    }

    for number in [3, 6] {
        fill(number, "1990").await;
    }
    rotator.resume(&ours, &kind).await.unwrap();
    let status = drive(&house, rotator.run(&ours, &kind)).await.unwrap();
    assert_eq!(status.phase, Phase::Completed);
    // Such a text is no sign of tampering.
    house.vault.close().await;
    assert!(!house.sink.codes().contains(&"KEY-005"));
}

#[tokio::test]
async fn no_token_is_made_from_a_value_that_a_writer_has_replaced_meanwhile() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let rows = Arc::new(MemoryRows::new("patients", &[SSN], &[ODD, EVEN]));
    let sealed = seal(&house.vault, &ours, 1).await;
    rows.put(&ours, &row(1), "ssn", &sealed);
    rows.put(&ours, &row(1), "ssn_odd", b"\x01token");
    let empty = house
        .vault
        .seal((&ours).into(), RECORDS, &cell(&row(1)), b"")
        .await;
    let (tenant, empty) = (ours.tenant(), empty.unwrap());
    rows.meddle(move |all| {
        // A value that normalizes to nothing has no token.
        let there = all.get_mut(&(tenant, row(1))).unwrap();
        there.insert("ssn", Some(empty));
        there.insert("ssn_odd", None);
    });
    let rotator = Rotator::new(RotatorParts {
        vault: house.vault.clone(),
        sources: vec![Arc::<MemoryRows>::clone(&rows)],
        config: few(),
    })
    .unwrap();
    let kind = RotationKind::Reindex(IndexColumns::of_text(&SSN_INDEX, ODD, EVEN));
    rotator.plan(&ours, &kind).await.unwrap();
    let status = drive(&house, rotator.run(&ours, &kind)).await.unwrap();
    assert_eq!((status.phase, status.lost), (Phase::Completed, 1));
    assert_eq!(rows.get(&ours, &row(1), "ssn_even"), None);
}
