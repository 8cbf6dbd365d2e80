//! Streams and whole records that were begun before a shred stop at it, and where their key is taken away.

use eonpro_core::phi::{Column, FieldOpener, FieldSealer, FieldSealing, Row, Table};
use eonpro_core::port::{KeyPurpose, SealError};
use eonpro_encryption::{
    CryptoError, Encryption as _, HEAD_LEN, KeyState, ShredApproval, ShredTarget, Subjects as _,
    TenantCipher,
};
use eonpro_testkit::scope;
use zeroize::Zeroizing;

use crate::support::{House, RECORDS, cell, chore};
use crate::wards::{Ward, patient};

const CHARTS: Table = Table::new("charts");
const NAME: Column = Column::new("name");
const NOTE: Column = Column::new("note");
const HOW: FieldSealing = FieldSealing::STANDARD;

fn approval() -> ShredApproval {
    ShredApproval {
        approver: eonpro_core::id::ActorId::new("officer").unwrap(),
        second_approver: None,
    }
}

fn sealed_stream(cipher: &TenantCipher, plain: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    let mut stream = cipher
        .seal_stream(RECORDS, &cell(b"f"), &mut sealed)
        .unwrap();
    stream.update(plain, &mut sealed).unwrap();
    stream.finish(&mut sealed).unwrap();
    sealed
}

#[tokio::test]
async fn a_stream_that_is_being_opened_stops_at_the_shred() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let cipher = house.vault.warm(&ours).await.unwrap();
    let sealed = sealed_stream(&cipher, &[3; 100_000]);
    let (head, body) = sealed.split_first_chunk::<HEAD_LEN>().unwrap();
    let begin = || cipher.open_stream(RECORDS, &cell(b"f"), head).unwrap();
    let (mut stream, mut near_its_end) = (begin(), begin());
    let (mut out, mut all) = (Zeroizing::default(), Zeroizing::default());
    stream.update(&body[..40_000], &mut out).unwrap();
    near_its_end.update(body, &mut all).unwrap();
    let released = (out.len(), all.len());
    assert!(released.0 > 0);

    let cx = chore();
    let shred = house.vault.shred(&cx, (&ours).into(), approval());
    shred.await.unwrap();
    // By now a full chunk is there.
    let refused = stream.update(&body[40_000..], &mut out);
    assert!(matches!(refused, Err(SealError::Shredded)));
    let refused = stream.finish(&mut out);
    assert!(matches!(refused, Err(SealError::Shredded)));
    // The last chunk waits for the end.
    let refused = near_its_end.finish(&mut all);
    assert!(matches!(refused, Err(SealError::Shredded)));
    assert_eq!((out.len(), all.len()), released);
}

#[tokio::test]
async fn a_stream_that_is_being_sealed_stops_at_the_shred() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let cipher = house.vault.warm(&ours).await.unwrap();
    let (mut sealed, mut other) = (Vec::new(), Vec::new());
    let begin = |out| cipher.seal_stream(RECORDS, &cell(b"f"), out).unwrap();
    let (mut stream, ending) = (begin(&mut sealed), begin(&mut other));
    stream.update(b"x", &mut sealed).unwrap();
    let cx = chore();
    let shred = house.vault.shred(&cx, (&ours).into(), approval());
    shred.await.unwrap();
    let refused = stream.update(b"y", &mut sealed);
    assert!(matches!(refused, Err(SealError::Shredded)));
    let refused = ending.finish(&mut other);
    assert!(matches!(refused, Err(SealError::Shredded)));
}

#[tokio::test]
async fn a_stream_gives_the_same_whatever_the_length_of_its_pieces() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let cipher = house.vault.warm(&ours).await.unwrap();
    let plain: Vec<u8> = (0..70_000_u32).map(|at| (at % 251) as u8).collect();
    let sealed = sealed_stream(&cipher, &plain);
    let (head, body) = sealed.split_first_chunk::<HEAD_LEN>().unwrap();
    for step in [1, 977, 16_384, 16_400, 16_401, 40_000, body.len()] {
        let mut out = Zeroizing::default();
        let mut stream = cipher.open_stream(RECORDS, &cell(b"f"), head).unwrap();
        for piece in body.chunks(step) {
            stream.update(piece, &mut out).unwrap();
        }
        stream.finish(&mut out).unwrap();
        assert_eq!(**out, plain, "{step}");
    }
}

#[tokio::test]
async fn a_whole_record_that_is_being_opened_stops_at_the_shred() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let mut cipher = house.vault.warm(&ours).await.unwrap();
    let row = Row::named(b"r").unwrap();
    let mut sealer = FieldSealer::record(&mut cipher, CHARTS, &row).unwrap();
    let head = sealer.head();
    let name = sealer.seal(HOW, NAME, b"x").unwrap();
    let note = sealer.seal(HOW, NOTE, b"y").unwrap();
    let mut opener = FieldOpener::record(&mut cipher, CHARTS, &row, &head).unwrap();
    assert_eq!(opener.open(HOW, NAME, &name).unwrap().as_slice(), b"x");
    let cx = chore();
    let shred = house.vault.shred(&cx, (&ours).into(), approval());
    shred.await.unwrap();
    let refused = opener.open(HOW, NOTE, &note);
    assert!(matches!(refused, Err(SealError::Shredded)));
}

#[tokio::test]
async fn a_patients_whole_record_stops_at_the_patients_shred_and_at_the_tenants() {
    for whose in [ShredTarget::Subject(patient(1)), ShredTarget::Tenant] {
        let ward = Ward::build().await;
        ward.seal(1, b"x").await;
        let cipher = ward.vault.warm_subject(&ward.tenant, patient(1));
        let mut cipher = cipher.await.unwrap();
        let row = Row::named(b"r").unwrap();
        let mut sealer = FieldSealer::record(&mut cipher, CHARTS, &row).unwrap();
        let head = sealer.head();
        let note = sealer.seal(HOW, NOTE, b"y").unwrap();
        let mut opener = FieldOpener::record(&mut cipher, CHARTS, &row, &head).unwrap();
        assert_eq!(opener.open(HOW, NOTE, &note).unwrap().as_slice(), b"y");
        let request = ward.approved(whose).await;
        ward.clock
            .advance(std::time::Duration::from_secs(24 * 3600));
        ward.carry_out(&request).await.unwrap();
        let refused = opener.open(HOW, NOTE, &note);
        assert!(matches!(refused, Err(SealError::Shredded)), "{whose:?}");
    }
}

#[tokio::test]
async fn what_is_under_way_stops_once_its_key_is_taken_away() {
    let ours = scope(1);
    let house = House::with_tenants(&[&ours]).await;
    let (cx, place, row) = (chore(), (&ours).into(), Row::named(b"r").unwrap());
    let mut cipher = house.vault.warm(&ours).await.unwrap();
    let sealed = sealed_stream(&cipher, &[3; 100_000]);
    let (head, body) = sealed.split_first_chunk::<HEAD_LEN>().unwrap();
    let mut opening = cipher.open_stream(RECORDS, &cell(b"f"), head).unwrap();
    let mut message = Vec::new();
    let sealing = cipher.seal_stream(RECORDS, &cell(b"f"), &mut message);
    let mut sealing = sealing.unwrap();
    let mut record = FieldSealer::record(&mut cipher, CHARTS, &row).unwrap();
    let record_head = record.head();
    let name = record.seal(HOW, NAME, b"x").unwrap();
    drop(record);
    let mut record = FieldOpener::record(&mut cipher, CHARTS, &row, &record_head).unwrap();

    let turned = house.vault.turn_epoch(&cx, place, RECORDS.into());
    let old = turned.await.unwrap().old;
    let mut out = Zeroizing::default();
    opening.update(&body[..40_000], &mut out).unwrap();
    sealing.update(b"x", &mut message).unwrap();
    assert!(record.open(HOW, NAME, &name).is_ok(), "it only opens now");

    let to = KeyState::Compromised;
    let set = house.vault.set_key_state(&cx, place, old, to);
    set.await.unwrap();
    for refused in [
        opening.update(&body[40_000..], &mut out),
        opening.finish(&mut out),
        sealing.update(b"x", &mut message),
        sealing.finish(&mut message),
        record.open(HOW, NAME, &name).map(|_| ()),
    ] {
        assert!(matches!(refused, Err(SealError::Disabled)), "{refused:?}");
    }
}

#[tokio::test]
async fn patients_are_closed_while_the_key_under_which_theirs_lie_is_suspended() {
    let ward = Ward::build().await;
    let sealed = ward.seal(1, b"x").await;
    let other = ward.another_process().await;
    let (here, place, cx) = (&ward.vault, ward.scope(), chore());
    let mut ciphers = Vec::new();
    for vault in [here, &other] {
        ciphers.push(vault.warm_subject(&ward.tenant, patient(1)).await.unwrap());
    }
    let turned = here.turn_epoch(&cx, place, KeyPurpose::new("subject").into());
    let old = turned.await.unwrap().old;
    assert!(ciphers[0].open(&cell(b"r"), &sealed).is_ok());
    let set = here.set_key_state(&cx, place, old, KeyState::Suspended);
    set.await.unwrap();
    let refused = ciphers[0].open(&cell(b"r"), &sealed);
    assert!(matches!(refused, Err(SealError::Disabled)));
    let refused = here.warm_subject(&ward.tenant, patient(1)).await;
    let refused = refused.map(|_| ());
    assert!(
        matches!(refused, Err(CryptoError::Seal(SealError::Disabled))),
        "{refused:?}"
    );
    assert!(
        ciphers[1].open(&cell(b"r"), &sealed).is_ok(),
        "nobody told it"
    );

    let set = here.set_key_state(&cx, place, old, KeyState::DecryptOnly);
    set.await.unwrap();
    assert!(ciphers[0].open(&cell(b"r"), &sealed).is_ok());
    assert!(ward.open(1, &sealed).await.is_ok());
}
