//! Policies: which are refused, and what those that are not believe.

use super::testing::Key;
use super::*;

/// Witnesses by their numbers, one set after the other.
type Sets<'a> = &'a [&'a [u8]];

const ORIGIN: &str = "log.example/a";

fn text() -> String {
    let root = crate::merkle::empty_root();
    TreeHead::new(ORIGIN, 0, root).unwrap().to_string()
}

fn log() -> Key {
    Key::note(ORIGIN, 1)
}

/// Witness `number`, from 1.
fn witness(number: u8) -> Key {
    Key::cosigner(&format!("w{number}.example"), 10 + number)
}

/// A policy with a log, the witnesses A to F, and these lines.
fn policy(lines: &str) -> Result<Policy, PolicyError> {
    let mut file = format!("log {}\n", log().vkey());
    for (number, name) in (1..).zip(["A", "B", "C", "D", "E", "F"]) {
        let key = witness(number).vkey();
        file.push_str(&format!("witness {name} {key} https://w/{name}\n"));
    }
    file.push_str(lines);
    Policy::parse(file.as_bytes())
}

fn note(witnesses: &[u8]) -> Note {
    let text = text();
    let mut lines = vec![log().line(&text)];
    lines.extend(witnesses.iter().map(|number| witness(*number).line(&text)));
    Note::new(text, lines).unwrap()
}

#[test]
fn a_quorum_is_what_the_groups_say() {
    let nested = "group X 2 A B C\ngroup Y any D E F\ngroup Z all X Y\nquorum Z\n";
    let tables: [(&str, Sets<'_>, Sets<'_>); 6] = [
        ("quorum none\n", &[&[], &[1]], &[]),
        ("quorum A\n", &[&[1], &[2, 1]], &[&[], &[2, 3, 4, 5, 6]]),
        (
            "group g 2 A B C\nquorum g\n",
            &[&[1, 2], &[3, 1], &[1, 2, 3]],
            &[&[], &[1], &[1, 1], &[1, 4, 5, 6]],
        ),
        ("group g all A B\nquorum g\n", &[&[1, 2]], &[&[1], &[2, 3]]),
        ("group g any A B\nquorum g\n", &[&[1], &[2]], &[&[], &[3]]),
        (
            nested,
            &[&[1, 2, 4], &[2, 3, 6], &[1, 2, 3, 4, 5, 6]],
            &[&[1, 2], &[1, 4, 5, 6], &[4, 5, 6], &[1, 2, 3]],
        ),
    ];
    for (lines, enough, too_few) in tables {
        let policy = policy(lines).unwrap();
        for witnesses in enough {
            let note = note(witnesses);
            let trusted = policy.verify(&note).unwrap();
            assert_eq!(trusted.head.origin(), ORIGIN);
            assert_eq!(*trusted.log, log().vkey());
            assert_eq!(trusted.cosignatures.len(), witnesses.len());
            for made in trusted.cosignatures {
                assert_eq!(made.timestamp, Some(Key::TIME));
            }
        }
        for witnesses in too_few {
            let verified = policy.verify(&note(witnesses));
            assert_eq!(verified, Err(TrustError::Quorum), "{lines} {witnesses:?}");
        }
    }
}

#[test]
fn only_a_log_that_the_origin_names_is_believed() {
    let text = text();
    let other_log = Key::note("log.example/b", 1);
    let file = format!(
        "log {}\nlog {}\nquorum none\n",
        log().vkey(),
        Key::note("log.example/b", 2).vkey()
    );
    let policy = Policy::parse(file.as_bytes()).unwrap();
    let cases = [
        vec![Key::note("log.example/b", 2).line(&text)],
        vec![Key::note(ORIGIN, 3).line(&text)],
        vec![other_log.line(&text)],
        vec![witness(1).line(&text)],
    ];
    for lines in cases {
        let note = Note::new(text.clone(), lines).unwrap();
        assert_eq!(policy.verify(&note), Err(TrustError::Log));
    }
    let note = Note::new("no checkpoint\n", vec![log().line("no checkpoint\n")]).unwrap();
    assert_eq!(policy.verify(&note), Err(TrustError::Malformed));
}

#[test]
fn a_wrong_line_of_a_known_witness_spoils_a_full_quorum() {
    let policy = policy("quorum A\n").unwrap();
    let mut note = note(&[1]);
    assert!(policy.verify(&note).is_ok());
    let stranger = Key::cosigner("stranger", 99).vkey();
    note.push(stranger.line(&[1; 72])).unwrap();
    assert!(policy.verify(&note).is_ok());
    // Not even in the quorum, but known.
    note.push(witness(6).vkey().line(&[1; 72])).unwrap();
    assert_eq!(policy.verify(&note), Err(TrustError::Signature));
}

#[test]
fn spaces_comments_and_high_octets_are_read_as_the_specification_says() {
    let key = witness(1).vkey();
    let file = [
        b"\t # comment \xff\n\n \t \n".as_slice(),
        format!("  witness\t\t\u{212a}  {key} \t\n").as_bytes(),
        b"group K any \xe2\x84\xaa\n",
        format!("log {} https://log.example\n", log().vkey()).as_bytes(),
        b"quorum K\n#",
        b"\n",
    ]
    .concat();
    let policy = Policy::parse(&file).unwrap();
    assert_eq!(
        policy.logs()[0].url(),
        Some(b"https://log.example".as_slice())
    );
    let witnesses: Vec<_> = policy.witnesses().collect();
    assert_eq!((witnesses.len(), witnesses[0].url()), (1, None));
    assert!(policy.verify(&note(&[1])).is_ok());
    assert_eq!(policy.verify(&note(&[2])), Err(TrustError::Quorum));
}

#[test]
fn what_is_no_policy_is_refused_with_its_line() {
    use PolicyFault::{
        DuplicateKey, DuplicateName, Malformed, MemberTwice, NoCosigner, NoQuorum, SecondQuorum,
        Threshold, TooMuch, UnknownName,
    };
    let (key, plain) = (witness(7).vkey(), Key::note("w7", 17).vkey());
    let lines = |count| {
        (0..count)
            .map(|at| format!("group {at} any A\n"))
            .collect::<String>()
    };
    let cases: Vec<(String, usize, PolicyFault)> = vec![
        (String::new(), 1, NoQuorum),
        ("# quorum A\n".into(), 2, NoQuorum),
        ("quorum A".into(), 1, Malformed),
        ("quorum\n".into(), 1, Malformed),
        ("quorum A B\n".into(), 1, Malformed),
        ("Quorum A\n".into(), 1, Malformed),
        ("quorum A\r\n".into(), 1, Malformed),
        ("quorum A # why\n".into(), 1, Malformed),
        ("quorum \u{7f}\n".into(), 1, Malformed),
        ("quorum Z\n".into(), 1, UnknownName),
        ("quorum g\ngroup g any A\n".into(), 1, UnknownName),
        ("quorum A\nquorum A\n".into(), 2, SecondQuorum),
        ("quorum none\nquorum A\n".into(), 2, SecondQuorum),
        ("group g any\n".into(), 1, Malformed),
        ("group g\n".into(), 1, Malformed),
        ("group g 0 A\n".into(), 1, Threshold),
        ("group g 2 A\n".into(), 1, Threshold),
        ("group g 18446744073709551615 A\n".into(), 1, Threshold),
        ("group g 18446744073709551616 A\n".into(), 1, Malformed),
        ("group g -1 A\n".into(), 1, Malformed),
        ("group g 01 A\n".into(), 1, Malformed),
        ("group g some A\n".into(), 1, Malformed),
        ("group g any none\n".into(), 1, UnknownName),
        ("group g any g\n".into(), 1, UnknownName),
        ("group g any A A\n".into(), 1, MemberTwice),
        ("group g any A\ngroup h any A\n".into(), 2, MemberTwice),
        ("group A any B\n".into(), 1, DuplicateName),
        ("group none any B\n".into(), 1, DuplicateName),
        (format!("witness A {key}\n"), 1, DuplicateName),
        (format!("witness none {key}\n"), 1, DuplicateName),
        (
            format!("witness G {}\n", witness(1).vkey()),
            1,
            DuplicateKey,
        ),
        (
            format!("witness G {}\n", Key::cosigner("renamed", 11).vkey()),
            1,
            DuplicateKey,
        ),
        (
            format!("log {}\n", Key::note("renamed", 1).vkey()),
            1,
            DuplicateKey,
        ),
        (format!("witness G {plain}\n"), 1, NoCosigner),
        (format!("witness G {key} url more\n"), 1, Malformed),
        (format!("witness {key}\n"), 1, Malformed),
        ("log\n".into(), 1, Malformed),
        (
            "log key\n".into(),
            1,
            PolicyFault::Key(VerifierKeyError::Malformed),
        ),
        ("include file\n".into(), 1, Malformed),
        (lines(2), 2, MemberTwice),
        ("#\n".repeat(MAX_POLICY_BYTES), 1, TooMuch),
    ];
    for (lines, line, fault) in cases {
        // The log and the six witnesses stand before; the whole file is what is too long.
        let before = if fault == TooMuch { 0 } else { 7 };
        let error = PolicyError {
            line: line + before,
            fault,
        };
        let shown = lines.get(..lines.len().min(80));
        assert_eq!(policy(&lines), Err(error), "{shown:?}");
    }
}

#[test]
fn thirty_two_logs_witnesses_and_groups_are_supported() {
    let mut file = String::new();
    for at in 0..32_u8 {
        let (log, witness) = (
            Key::note(&format!("l{at}"), at),
            Key::cosigner("w", 100 + at),
        );
        file.push_str(&format!(
            "log {}\nwitness w{at} {}\n",
            log.vkey(),
            witness.vkey()
        ));
        file.push_str(&format!("group g{at} any w{at}\n"));
    }
    let members: String = (0..32).map(|at| format!(" g{at}")).collect();
    file.push_str(&format!("group all 20{members}\nquorum all\n"));
    assert!(Policy::parse(file.as_bytes()).is_ok());
}
