//! A log and a witness of it, without anything between them.

use super::testing::Key;
use super::*;
use crate::merkle::{CompactRange, Node, Plan, empty_root, leaf_hash};
use eonpro_core::event::Digest;

const ORIGIN: &str = "log.example/a";

fn range(from: u64, to: u64) -> CompactRange {
    let mut range = CompactRange::new();
    (from..to).for_each(|index| range.append(leaf_hash(&index.to_le_bytes())));
    range
}

fn root(size: u64) -> Digest {
    range(0, size).root()
}

fn proof(old: u64, new: u64) -> Vec<Digest> {
    let read = |node: Node| {
        let start = node.index() << node.level();
        Ok::<_, ()>(range(start, start + (1 << node.level())).root())
    };
    Plan::consistency(old, new).unwrap().read(read).unwrap()
}

fn log() -> Key {
    Key::note(ORIGIN, 1)
}

fn checkpoint(size: u64, root: Digest) -> Note {
    let text = TreeHead::new(ORIGIN, size, root).unwrap().to_string();
    Note::new(text.clone(), vec![log().line(&text)]).unwrap()
}

fn request(old: u64, new: u64) -> AddCheckpoint {
    let proof = if old == 0 {
        Vec::new()
    } else {
        proof(old, new)
    };
    AddCheckpoint::new(old, proof, checkpoint(new, root(new))).unwrap()
}

fn known(last: Option<u64>) -> KnownLog {
    KnownLog {
        keys: vec![log().vkey()],
        last: last.map(|size| (size, root(size))),
    }
}

#[test]
fn a_growing_log_is_cosigned() {
    for (last, old, new) in [
        (None, 0, 0),
        (None, 0, 7),
        (Some(0), 0, 0),
        (Some(0), 0, 3),
        (Some(3), 3, 3),
        (Some(3), 3, 4),
        (Some(4), 4, 11),
        (Some(11), 11, 64),
    ] {
        let sent = request(old, new).to_string();
        let received = AddCheckpoint::parse(&sent).unwrap();
        assert_eq!(received.to_string(), sent);
        assert_eq!(
            received.check(Some(&known(last))),
            Ok(()),
            "{last:?} {old} {new}"
        );
    }
}

#[test]
fn a_witness_refuses_with_the_status_of_the_specification() {
    let with = |old, proof, note| AddCheckpoint::new(old, proof, note).unwrap();
    let other_root = Digest::of(b"other");
    let foreign = {
        let text = TreeHead::new(ORIGIN, 5, root(5)).unwrap().to_string();
        let wrong = log().vkey().line(&[0; 64]);
        let unknown = Key::note(ORIGIN, 9).line(&text);
        [
            vec![unknown.clone()],
            vec![wrong.clone()],
            vec![log().line(&text), wrong],
        ]
        .map(|lines| Note::new(text.clone(), lines).unwrap())
    };
    let mut longer = proof(3, 5);
    longer.push(other_root);
    let [unknown, wrong, spoilt] = foreign;
    let cases = [
        (with(0, vec![], unknown), None, 403),
        (with(0, vec![], wrong), None, 403),
        (with(0, vec![], spoilt), None, 403),
        (with(6, vec![], checkpoint(5, root(5))), Some(6), 400),
        (with(6, vec![], checkpoint(5, root(5))), Some(4), 400),
        (request(3, 5), Some(4), 409),
        (request(3, 5), None, 409),
        (request(0, 5), Some(4), 409),
        (with(0, vec![], checkpoint(0, other_root)), None, 422),
        (with(0, proof(3, 5), checkpoint(5, root(5))), None, 422),
        (with(3, vec![], checkpoint(5, root(5))), Some(3), 422),
        (with(3, longer, checkpoint(5, root(5))), Some(3), 422),
        (
            with(3, proof(3, 5), checkpoint(5, other_root)),
            Some(3),
            422,
        ),
        (with(3, vec![], checkpoint(3, other_root)), Some(3), 422),
        (with(3, proof(3, 5), checkpoint(3, root(3))), Some(3), 422),
    ];
    for (request, last, status) in cases {
        let refusal = request.check(Some(&known(last))).unwrap_err();
        let answer = Answer::Refused(refusal);
        assert_eq!(answer.status(), status, "{request}");
        let kind = Some(answer.content_type());
        assert_eq!(Answer::parse(status, kind, &answer.body()), Ok(answer));
        assert_eq!(request.check(None), Err(Refusal::UnknownLog));
    }
}

#[test]
fn a_conflict_names_the_size_that_the_witness_knows() {
    let refusal = request(3, 5).check(Some(&known(Some(20)))).unwrap_err();
    let answer = Answer::Refused(refusal);
    assert_eq!(answer.body(), "20\n");
    assert_eq!(answer.content_type(), "text/x.tlog.size");
    let parse = |kind, body| Answer::parse(409, kind, body);
    for kind in ["text/x.tlog.size", "Text/X.tlog.size; charset=utf-8"] {
        assert_eq!(parse(Some(kind), "20\n"), Ok(answer.clone()));
    }
    for (kind, body) in [
        (None, "20\n"),
        (Some("text/plain"), "20\n"),
        (Some("text/x.tlog.size"), "20"),
        (Some("text/x.tlog.size"), "020\n"),
        (Some("text/x.tlog.size"), "+20\n"),
        (Some("text/x.tlog.size"), "\n"),
        (Some("text/x.tlog.size"), "20\n\n"),
        (Some("text/x.tlog.size"), "18446744073709551616\n"),
    ] {
        assert_eq!(parse(kind, body), Err(AnswerError), "{kind:?} {body:?}");
    }
    assert_eq!(Answer::parse(500, None, "oh"), Ok(Answer::Other(500)));
}

#[test]
fn a_log_takes_the_cosignatures_of_its_witnesses_only() {
    let request = request(3, 5);
    let text = request.checkpoint().text();
    let (one, two) = (Key::cosigner("w1", 11), Key::cosigner("w2", 12));
    let keys = [one.vkey(), log().vkey()];
    let answer = Answer::Cosigned(vec![one.line(text), two.line(text)]);
    let read = Answer::parse(200, None, &answer.body()).unwrap();
    assert_eq!(read, answer);
    let Answer::Cosigned(lines) = read else {
        panic!("it is");
    };
    assert_eq!(request.accept(&lines, &keys), Ok(vec![one.line(text)]));

    let wrong = |lines: &[SignatureLine]| request.accept(lines, &keys);
    assert_eq!(wrong(&[two.line(text)]), Err(NoteError::Unsigned));
    // The log itself is no witness.
    assert_eq!(wrong(&[log().line(text)]), Err(NoteError::Unsigned));
    for line in [one.line("other\n1\n"), one.line_at(text, 0)] {
        assert_eq!(wrong(&[one.line(text), line]), Err(NoteError::Signature));
    }
    for body in ["", "\n", "text\n", answer.body().trim_end()] {
        assert_eq!(Answer::parse(200, None, body), Err(AnswerError), "{body:?}");
    }
}

#[test]
fn malformed_requests_are_refused() {
    let good = request(3, 5).to_string();
    assert!(AddCheckpoint::parse(&good).is_ok());
    for (from, to) in [
        ("old 3\n", ""),
        ("old 3\n", "old 03\n"),
        ("old 3\n", "old +3\n"),
        ("old 3\n", "old  3\n"),
        ("old 3\n", "old 3\r\n"),
        ("old 3\n", "Old 3\n"),
        ("old 3\n", "old \n"),
        ("old 3\n", "old 3\nAAAA\n"),
        ("old 3\n", "old 3\n\n"),
        ("\n\nlog.example", "\nlog.example"),
        ("\n5\n", "\n05\n"),
        ("\u{2014} ", "- "),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        assert_eq!(AddCheckpoint::parse(&bad), Err(Refusal::Malformed), "{bad}");
    }
    assert!(AddCheckpoint::parse(good.trim_end()).is_err());
}

#[test]
fn requests_and_answers_are_bounded() {
    let note = checkpoint(0, empty_root());
    let proof = |count| vec![Digest::of(b""); count];
    let longest = AddCheckpoint::new(u64::MAX, proof(63), note.clone()).unwrap();
    assert!(AddCheckpoint::parse(&longest.to_string()).is_ok());
    assert!(AddCheckpoint::new(1, proof(64), note).is_err());
    let body = longest.to_string();
    let hash = body.lines().nth(1).unwrap().to_owned() + "\n";
    let more = body.replacen(&hash, &hash.repeat(2), 1);
    assert_eq!(AddCheckpoint::parse(&more), Err(Refusal::Malformed));
    let long = format!("old 0\n\n{}", "x".repeat(MAX_REQUEST_BYTES));
    assert_eq!(AddCheckpoint::parse(&long), Err(Refusal::Malformed));
    let line = Key::cosigner("w", 1).line("a\n").to_string();
    let most = line.repeat(MAX_SIGNATURES);
    assert!(Answer::parse(200, None, &most).is_ok());
    let more = line.repeat(MAX_SIGNATURES + 1);
    assert_eq!(Answer::parse(200, None, &more), Err(AnswerError));
    let long = "1".repeat(MAX_ANSWER_BYTES + 1);
    assert_eq!(Answer::parse(500, None, &long), Err(AnswerError));
}
