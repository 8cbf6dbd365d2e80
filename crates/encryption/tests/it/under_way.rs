//! Streams and whole records that were begun before a shred stop at it.

use eonpro_core::phi::{Column, FieldOpener, FieldSealer, FieldSealing, Row, Table};
use eonpro_core::port::SealError;
use eonpro_encryption::{
    Encryption as _, HEAD_LEN, ShredApproval, ShredTarget, Subjects as _, TenantCipher,
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
