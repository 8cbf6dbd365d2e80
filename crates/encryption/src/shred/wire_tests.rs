//! Each record survives its stored form; what is no record is refused.

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn by(name: &str) -> Decision {
    Decision {
        by: ActorId::new(name).unwrap(),
        at: at(3),
    }
}

fn id(name: &str) -> EpochId {
    EpochId::new(name).unwrap()
}

fn request(state: ShredState) -> ShredRequest {
    ShredRequest {
        id: Uuid::from_u128(5),
        target: target(Some(Uuid::from_u128(6))),
        reason: Code::constant("erasure-request"),
        requested: by("asks"),
        approvals: vec![by("one"), by("two")],
        state,
    }
}

fn epochs() -> Epochs {
    Epochs {
        current: Some(Epoch {
            id: id("c"),
            custody: Some("keyring:1".into()),
            number: 3,
            opened: at(1),
            ends: at(2),
            shredded: 4,
            announced: true,
        }),
        pending: vec![Pending {
            id: id("b"),
            custody: None,
            number: 2,
            destroy_at: at(9),
        }],
        gone: vec![Gone {
            id: id("a"),
            number: 1,
            at: at(0),
            until: Some(at(7)),
        }],
    }
}

#[test]
fn every_record_survives_its_stored_form() {
    let facts = |backups| {
        ShredState::Shredded(ShredFacts {
            at: at(1),
            keys: vec![KeyId::parse("0000000a").unwrap()],
            epoch: Some(id("c")),
            exposed_until: at(2),
            backups,
            custody: "keyring".into(),
        })
    };
    let states = [
        ShredState::Requested,
        ShredState::Approved { due: at(4) },
        ShredState::Cancelled(by("asks")),
        ShredState::Refused { at: at(5) },
        facts(BackupExposure::Ended),
        facts(BackupExposure::Until(at(6))),
        facts(BackupExposure::WhileBackupsExist),
    ];
    for state in states {
        let request = request(state);
        let read = ShredRequest::read(&request.write().unwrap()).unwrap();
        assert_eq!(read, request);
    }
    for epochs in [epochs(), Epochs::default()] {
        assert_eq!(Epochs::read(&epochs.write().unwrap()).unwrap(), epochs);
    }
    let holds = Holds(vec![LegalHold {
        target: ShredTarget::Tenant,
        case: Code::constant("case-1"),
        by: ActorId::new("counsel").unwrap(),
        at: at(8),
    }]);
    assert_eq!(Holds::read(&holds.write().unwrap()).unwrap(), holds);
}

#[test]
fn what_is_no_record_is_refused() {
    let text = String::from_utf8(request(ShredState::Requested).write().unwrap()).unwrap();
    for (from, to) in [
        ("\"v\":1", "\"v\":2"),
        ("\"requested\"}", "\"burnt\"}"),
        ("erasure-request", "erasure request"),
        ("\"asks\"", "\"\""),
        ("00000000-0000-0000-0000-000000000005", "5"),
    ] {
        let bad = text.replace(from, to);
        assert_ne!(bad, text, "{from}");
        assert!(ShredRequest::read(bad.as_bytes()).is_err(), "{bad}");
    }
    let text = String::from_utf8(epochs().write().unwrap()).unwrap();
    for (from, to) in [("\"id\":\"c\"", "\"id\":\"C\""), ("\"pending\"", "\"p\"")] {
        let bad = text.replace(from, to);
        assert_ne!(bad, text, "{from}");
        assert!(Epochs::read(bad.as_bytes()).is_err(), "{bad}");
    }
}
