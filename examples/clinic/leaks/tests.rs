//! Each form of a value is found wherever it is, and what is chance is told apart.

use super::*;

fn needles(values: &[&str]) -> Needles {
    Needles::new(
        values
            .iter()
            .map(|value| value.as_bytes().to_vec())
            .collect(),
    )
    .unwrap()
}

/// A dataset of one note.
fn with_note(body: &[u8]) -> Dataset {
    let note = crate::dataset::Note {
        organization: 0,
        patient: 0,
        media_type: eonpro::storage::MediaType::parse("application/pdf").unwrap(),
        body: body.to_vec().into(),
    };
    Dataset {
        notes: vec![note],
        ..Dataset::default()
    }
}

/// How often one of `values` is found in a directory with one file of `content`.
fn found(values: &[&str], content: impl AsRef<[u8]>) -> usize {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), content).unwrap();
    let leaks = needles(values).search(dir.path()).unwrap();
    assert!(
        leaks
            .iter()
            .all(|leak| leak.file == dir.path().join("file"))
    );
    leaks.len()
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

fn upper_hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}

#[test]
fn every_form_of_a_value_is_found_at_its_place() {
    let value = "12 Björk \"Lane\"";
    let forms: [(&str, Vec<u8>); 12] = [
        ("plain", value.into()),
        ("upper case", value.to_uppercase().into()),
        ("lower case", value.to_lowercase().into()),
        ("mixed case", "12 bJörK \"lAne\"".into()),
        ("JSON", "12 Björk \\\"Lane\\\"".into()),
        ("JSON in another case", "12 BJÖRK \\\"LANE\\\"".into()),
        ("ASCII JSON", "12 Bj\\u00f6rk \\\"Lane\\\"".into()),
        (
            "ASCII JSON, upper hex",
            "12 Bj\\u00F6rk \\\"Lane\\\"".into(),
        ),
        ("UTF-16 LE", utf16(value, u16::to_le_bytes)),
        ("UTF-16 BE", utf16(value, u16::to_be_bytes)),
        ("lower hex", upper_hex(value).to_lowercase().into()),
        ("upper hex", upper_hex(value).into()),
    ];
    for (name, form) in forms {
        let content = [b"\x00before ".as_slice(), &form, b" after\x00"].concat();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), content).unwrap();
        let leaks = needles(&[value]).search(dir.path()).unwrap();
        let end = 8 + form.len() as u64;
        assert!(
            leaks.iter().any(|leak| leak.offset == end),
            "{name}: {leaks:?}"
        );
    }
}

#[test]
fn a_value_is_found_in_base64_of_a_longer_text_wherever_it_begins() {
    let value = "Ängström>>?~Ø?";
    for before in 0..7 {
        for after in 0..4 {
            let text = format!("{}{value}{}", "x".repeat(before), "y".repeat(after));
            let standard = STANDARD.encode(&text);
            let url_safe = URL_SAFE.encode(&text);
            assert_ne!(
                standard, url_safe,
                "the value must tell the alphabets apart"
            );
            for text in [standard, url_safe] {
                assert!(found(&[value], &text) > 0, "{before} {after}");
                assert!(found(&[value], text.trim_end_matches('=')) > 0);
            }
        }
    }
}

#[test]
fn the_shortest_values_are_found_in_every_form_too() {
    let value = "Adela";
    assert_eq!(found(&[value], "Adela"), 1);
    assert_eq!(found(&[value], utf16(value, u16::to_le_bytes)), 1);
    assert_eq!(found(&[value], utf16(value, u16::to_be_bytes)), 1);
    assert_eq!(found(&[value], upper_hex(value)), 1);
    for before in ["", "a", "ab"] {
        assert!(found(&[value], STANDARD.encode(format!("{before}Adela z"))) > 0);
    }
}

#[test]
fn a_value_of_fewer_than_five_bytes_is_left_out() {
    let needles = needles(&["Ann", "Zoë", "Adela"]);
    assert_eq!(needles.values(), 1);
    assert_eq!(found(&["Ann", "Zoë"], "Ann and Zoë"), 0);
}

#[test]
fn of_a_long_value_its_beginning_is_enough() {
    let value = "é".repeat(40);
    assert_eq!(found(&[&value], "é".repeat(24)), 1);
    assert_eq!(found(&[&value], "é".repeat(23)), 0);
}

#[test]
fn a_clean_directory_has_no_leak() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    std::fs::write(dir.path().join("none"), "").unwrap();
    std::fs::write(dir.path().join("some"), "Adel, Adella, 999-12-345").unwrap();
    let needles = needles(&["Adela", "999-12-3456"]);
    assert_eq!(needles.search(dir.path()).unwrap().len(), 0);
}

#[test]
fn names_of_files_and_of_directories_are_searched_at_any_depth() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    std::fs::create_dir_all(deep.join("of Adela")).unwrap();
    std::fs::write(deep.join("999-12-3456.txt"), "").unwrap();
    std::fs::write(deep.join("file"), "Lovelace").unwrap();
    let needles = needles(&["Adela", "999-12-3456", "Lovelace"]);
    let leaks = needles.search(dir.path()).unwrap();
    let files: Vec<_> = leaks.into_iter().map(|leak| leak.file).collect();
    let expected = ["999-12-3456.txt", "file", "of Adela"];
    assert_eq!(files, expected.map(|name| deep.join(name)));
}

#[test]
fn a_value_is_found_once_wherever_it_lies_across_the_border_of_two_chunks() {
    let value = "999-12-3456";
    for border in [CHUNK, 2 * CHUNK] {
        for shift in [
            0,
            1,
            5,
            10,
            11,
            12,
            DATA_RUN,
            DATA_RUN + 11,
            OVERLAP,
            OVERLAP + 11,
        ] {
            let mut content = vec![b' '; 2 * CHUNK + 100];
            let from = border - shift;
            content[from..from + value.len()].copy_from_slice(value.as_bytes());
            assert_eq!(found(&[value], &content), 1, "{border} - {shift}");
        }
    }
}

#[test]
fn a_value_at_the_very_end_is_found_also_if_the_file_is_whole_chunks() {
    for length in [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK] {
        let mut content = vec![b' '; length];
        content[length - 5..].copy_from_slice(b"Adela");
        assert_eq!(found(&["Adela"], &content), 1, "{length}");
    }
}

#[test]
fn a_short_name_is_no_chance_where_somebody_wrote_it() {
    let long = "q7Zk".repeat(16);
    for content in [
        "{\"name\":\"Adela\"}".to_owned(),
        "{\"name\":\"ADELA\",\"x\":1}".to_owned(),
        "/notes/of/patients/in/this/clinic/adela/2026".to_owned(),
        format!("{long}+Adela/{long}"),
        format!("{long} Adela {long}"),
        format!("{long}\"Adela\"{long}"),
        "visitAdelaToday".to_owned(),
        "Adela".to_owned(),
    ] {
        assert_eq!(found(&["Adela"], &content), 1, "{content}");
    }
}

#[test]
fn a_short_name_in_its_own_spelling_is_found_whatever_its_capitals() {
    for name in ["McCoy", "O'Hara", "De Luca", "DeVon", "Al Fox"] {
        for written in [name.to_owned(), name.to_uppercase(), name.to_lowercase()] {
            let content = format!("{{\"name\":\"{written}\"}}");
            assert_eq!(found(&[name], &content), 1, "{content}");
        }
    }
    assert_eq!(found(&["McCoy", "MCcoy"], "a McCoy, a MCcoy, a mCCoy"), 2);
}

#[test]
fn a_few_letters_in_random_data_are_chance() {
    let long = "q7Zk".repeat(16);
    for content in [
        "\x01aDeLa\x02".to_owned(),
        format!("{long}Adela{long}"),
        format!("{long}adela"),
    ] {
        assert_eq!(found(&["Adela"], &content), 0, "{content}");
    }
}

#[test]
fn chance_is_judged_alike_on_both_sides_of_a_chunks_border() {
    for shift in 0..DATA_RUN {
        // What tells that it is chance stands behind the name, beyond the border.
        let from = CHUNK - shift;
        let mut content = vec![b' '; from];
        content.resize(CHUNK + 100, b'q');
        content[from..from + 5].copy_from_slice(b"Adela");
        assert_eq!(found(&["Adela"], &content), 0, "{shift}");
    }
}

#[test]
fn a_value_that_is_not_short_is_never_chance() {
    let long = "q7Zk".repeat(16);
    assert_eq!(found(&["Lovelace"], format!("{long}lOvElAcE{long}")), 1);
}

#[test]
fn the_control_value_is_found_and_removed_again() {
    let dir = tempfile::tempdir().unwrap();
    let needles = needles(&["999-12-3456"]);
    needles.control(dir.path(), "999-12-3456").unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_search_that_does_not_know_the_control_value_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let error = needles(&["999-12-3456"]).control(dir.path(), "Lovelace");
    assert_eq!(
        error.unwrap_err(),
        "the leak search missed its control value"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn every_value_of_a_patient_and_the_longest_line_of_a_note_are_looked_for() {
    let dataset = crate::generate::dataset(3).unwrap();
    let needles = Needles::of(&dataset).unwrap();
    let mut leaked = Vec::new();
    for person in &dataset.patients {
        let single = [
            &person.full_name,
            &person.ssn,
            &person.mrn,
            &person.licence,
            &person.passport,
            &person.phone,
            &person.street,
        ];
        let single = single.into_iter().flatten();
        let all = single.chain(&person.names).chain(&person.phones);
        leaked.extend(all.map(|value| value.expose().clone()));
    }
    for note in &dataset.notes {
        let text = String::from_utf8(note.body.expose().clone()).unwrap();
        let longest = text.lines().max_by_key(|line| line.len()).unwrap();
        leaked.push(longest.to_owned());
    }
    assert!(leaked.len() > 3 * 9);
    let dir = tempfile::tempdir().unwrap();
    for (number, value) in leaked.iter().enumerate() {
        let file = dir.path().join(number.to_string());
        std::fs::write(&file, value).unwrap();
        let leaks = needles.search(dir.path()).unwrap();
        assert!(leaks.iter().any(|leak| leak.file == file));
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn of_a_note_that_is_no_text_the_longest_telling_line_is_looked_for_in_its_own_bytes() {
    let line = b"the scan \xe9\xff\x80 of the left knee";
    let padding = [0_u8; 300];
    let body = [b"short\n".as_slice(), line, b"\r\n", &padding, b"\nend"].concat();
    let needles = Needles::of(&with_note(&body)).unwrap();
    assert_eq!(needles.values(), 1);
    let upper_hex: String = line.iter().map(|byte| format!("{byte:02X}")).collect();
    for form in [
        line.to_vec(),
        line.to_ascii_uppercase(),
        upper_hex.into_bytes(),
        STANDARD
            .encode([b"a".as_slice(), line, b"z"].concat())
            .into(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), &form).unwrap();
        assert_eq!(needles.search(dir.path()).unwrap().len(), 1, "{form:?}");
        std::fs::write(dir.path().join("file"), padding).unwrap();
        assert_eq!(needles.search(dir.path()).unwrap().len(), 0);
    }
}

#[test]
fn of_a_long_line_that_is_no_text_its_beginning_is_enough() {
    let line: Vec<u8> = (128..=255).collect();
    let needles = Needles::of(&with_note(&line)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (length, leaks) in [(LONGEST, 1), (LONGEST - 1, 0)] {
        std::fs::write(dir.path().join("file"), &line[..length]).unwrap();
        assert_eq!(needles.search(dir.path()).unwrap().len(), leaks);
    }
}

#[test]
fn a_birth_date_in_the_log_is_found_unless_it_is_the_day_of_the_lines() {
    let mut dataset = crate::generate::dataset(3).unwrap();
    dataset.patients[0].birth_date = Some("2026-11-28".into());
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("clinic-2026-11-28.jsonl");
    let mut found = Vec::new();
    for person in &dataset.patients {
        let born = person.birth_date.as_ref().unwrap().expose();
        let line = format!("{{\"time\":\"2026-11-28T05:04:03Z\",\"message\":\"born {born}\"}}");
        std::fs::write(&log, line).unwrap();
        found.push(births_in(dir.path(), &dataset).unwrap().len());
    }
    assert_eq!(found, [0, 1, 1]);
}

#[test]
fn a_leak_names_the_file_and_not_the_value() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "of Adela").unwrap();
    let leaks = needles(&["Adela"]).search(dir.path()).unwrap();
    assert!(!format!("{leaks:?}").contains("Adela"));
}
