//! The search for leaks: every byte under a directory against every PHI value of the input.
//!
//! Each value is looked for as it is, in any letter case, JSON-escaped, as UTF-16, as hexadecimal,
//! and as base64 (both alphabets) in all three alignments; in file names too. Values under five
//! bytes are left out: they occur by chance. Of a long line its first 48 bytes are looked for, which
//! is at least as strict: whoever leaks the line leaks its beginning.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::dataset::Dataset;

const SHORTEST: usize = 5;
const LONGEST: usize = 48;
/// Plain matches shorter than this may be chance.
const SURE: usize = 8;
/// A run of base64 characters so long is data, not words.
const DATA_RUN: usize = 32;
const CHUNK: usize = 1 << 20;
/// Longer than any form of a value, and than what is looked at around a match.
const OVERLAP: usize = 4096;

/// The values to look for, ready to search.
#[derive(Debug)]
pub struct Needles {
    values: usize,
    any_case: Forms,
    exact: Forms,
}

#[derive(Debug)]
struct Forms {
    automaton: AhoCorasick,
    /// The plain text of each form that is plain and short.
    short: Vec<Option<Vec<u8>>>,
}

/// Where a value was found. Names the file, never the value.
#[derive(Debug)]
pub struct Leak {
    /// The file.
    pub file: PathBuf,
    /// The byte after the match.
    pub offset: u64,
}

impl Needles {
    /// Every name, SSN, MRN, licence, passport, phone and street of every patient, and the longest
    /// line of every note.
    pub fn of(dataset: &Dataset) -> Result<Self, String> {
        let mut values = BTreeSet::new();
        for person in &dataset.patients {
            let single = [
                &person.full_name, &person.ssn, &person.mrn, &person.licence, &person.passport,
                &person.phone, &person.street,
            ];
            let all = single.into_iter().flatten().chain(&person.names);
            values.extend(all.map(|value| value.expose().clone()));
        }
        for note in &dataset.notes {
            let text = String::from_utf8_lossy(note.body.expose());
            let longest = text.lines().max_by_key(|line| line.len());
            values.extend(longest.map(|line| line.trim().to_owned()));
        }
        Self::new(values)
    }

    /// The given values, in all their forms.
    pub fn new(mut values: BTreeSet<String>) -> Result<Self, String> {
        values.retain(|value| value.len() >= SHORTEST);
        let (mut any_case, mut exact) = (BTreeSet::new(), BTreeSet::new());
        for value in &values {
            let value = beginning(value);
            let cases = BTreeSet::from([value.to_owned(), value.to_lowercase(), value.to_uppercase()]);
            for text in &cases {
                for mut form in text_forms(text) {
                    // The automaton folds ASCII by itself.
                    form.make_ascii_lowercase();
                    any_case.insert(form);
                }
                any_case.insert(hex(text));
            }
            exact.extend(base64_forms(value.as_bytes()));
        }
        let plain: BTreeSet<Vec<u8>> =
            values.iter().map(|value| value.to_ascii_lowercase().into_bytes()).collect();
        Ok(Self {
            values: values.len(),
            any_case: Forms::new(any_case, true, &plain)?,
            exact: Forms::new(exact, false, &BTreeSet::new())?,
        })
    }

    /// How many values are looked for.
    pub fn values(&self) -> usize {
        self.values
    }

    /// Searches every file under `dir`, and its name.
    pub fn search(&self, dir: &Path) -> Result<Vec<Leak>, String> {
        let mut leaks = Vec::new();
        for file in files_under(dir)? {
            let name = file.strip_prefix(dir).unwrap_or(&file).to_string_lossy().into_owned();
            self.scan(name.as_bytes(), 0, 0, &file, &mut leaks);
            self.search_file(&file, &mut leaks)?;
        }
        Ok(leaks)
    }

    fn search_file(&self, path: &Path, leaks: &mut Vec<Leak>) -> Result<(), String> {
        let failed = |error| format!("leak search: {error}");
        let mut reader = File::open(path).map_err(failed)?;
        let (mut window, mut start, mut searched) = (Vec::new(), 0_u64, 0);
        loop {
            let read = reader
                .by_ref()
                .take(CHUNK as u64)
                .read_to_end(&mut window)
                .map_err(failed)?;
            if read == 0 {
                return Ok(());
            }
            self.scan(&window, start, searched, path, leaks);
            let keep = window.len().min(OVERLAP);
            let dropped = window.len() - keep;
            window.drain(..dropped);
            start += dropped as u64;
            searched = keep;
        }
    }

    /// Searches `window`, which begins at `start`; matches within its first `searched` bytes are
    /// known.
    fn scan(&self, window: &[u8], start: u64, searched: usize, path: &Path, leaks: &mut Vec<Leak>) {
        for forms in [&self.any_case, &self.exact] {
            for found in forms.automaton.find_overlapping_iter(window) {
                let (from, to) = (found.start(), found.end());
                let short = forms.short.get(found.pattern().as_usize()).and_then(Option::as_ref);
                let chance = short.is_some() && is_chance(window, from, to);
                if to > searched && !chance {
                    leaks.push(Leak { file: path.to_owned(), offset: start + to as u64 });
                }
            }
        }
    }

    /// Proves that the search works: plants every form of `value` under `dir`, finds each, and
    /// removes them again.
    pub fn control(&self, dir: &Path, value: &str) -> Result<(), String> {
        let failed = |error| format!("control value: {error}");
        let planted = dir.join("control");
        std::fs::create_dir(&planted).map_err(failed)?;
        let mut forms = text_forms(value);
        forms.push(value.to_uppercase().into_bytes());
        forms.push(hex(value));
        forms.extend(base64_forms(value.as_bytes()));
        for (number, form) in forms.iter().enumerate() {
            let noise = [b"\x00noise ".as_slice(), form, b" noise\x00"].concat();
            std::fs::write(planted.join(number.to_string()), noise).map_err(failed)?;
        }
        let found = self.search(dir);
        std::fs::remove_dir_all(&planted).map_err(failed)?;
        let found: BTreeSet<PathBuf> = found?.into_iter().map(|leak| leak.file).collect();
        for number in 0..forms.len() {
            if !found.contains(&planted.join(number.to_string())) {
                return Err("the leak search missed its control value".to_owned());
            }
        }
        Ok(())
    }
}

impl Forms {
    fn new(
        patterns: BTreeSet<Vec<u8>>,
        fold: bool,
        plain: &BTreeSet<Vec<u8>>,
    ) -> Result<Self, String> {
        let short = patterns.iter().map(|pattern| {
            (pattern.len() < SURE && plain.contains(pattern)).then(|| pattern.clone())
        });
        let short = short.collect();
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(fold)
            .build(&patterns)
            .map_err(|error| format!("too many values to search for: {error}"))?;
        Ok(Self { automaton, short })
    }
}

/// Whether a match of a few letters is one of the many that random data has: in a case that nobody
/// writes (`aDeLa`), or in the middle of a long run of base64 characters, where its neighbours are
/// letters and digits too. The value in base64 has forms of its own.
fn is_chance(window: &[u8], from: usize, to: usize) -> bool {
    let found = window.get(from..to).unwrap_or_default();
    let rest = found.get(1..).unwrap_or_default();
    let lower = |bytes: &[u8]| !bytes.iter().any(u8::is_ascii_uppercase);
    let upper = |bytes: &[u8]| !bytes.iter().any(u8::is_ascii_lowercase);
    if !(lower(found) || upper(found) || lower(rest)) {
        return true;
    }
    let is_data = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let before = window.get(..from).unwrap_or_default();
    let after = window.get(to..).unwrap_or_default();
    let run = before.iter().rev().take(DATA_RUN).take_while(is_data).count()
        + found.len()
        + after.iter().take(DATA_RUN).take_while(is_data).count();
    let joined = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    run >= DATA_RUN && (joined(before.last()) || joined(after.first()))
}

fn beginning(value: &str) -> &str {
    let mut end = value.len().min(LONGEST);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.get(..end).unwrap_or(value)
}

fn text_forms(text: &str) -> Vec<Vec<u8>> {
    let escaped = serde_json::Value::from(text).to_string();
    let ascii_escaped: String = text
        .encode_utf16()
        .map(|unit| match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
            _ => format!("\\u{unit:04x}"),
        })
        .collect();
    vec![
        text.as_bytes().to_vec(),
        escaped.trim_matches('"').as_bytes().to_vec(),
        ascii_escaped.into_bytes(),
        text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
    ]
}

fn hex(text: &str) -> Vec<u8> {
    text.bytes().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// What any base64 text that contains `bytes` must contain, for each alignment and alphabet.
fn base64_forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for alignment in 0..3_usize {
        let shifted = [vec![0; alignment], bytes.to_vec()].concat();
        // The characters that mix with the neighbours' bits are cut off at both ends.
        let from = (alignment * 8).div_ceil(6);
        let to = shifted.len() * 8 / 6;
        for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            forms.extend(text.as_bytes().get(from..to).map(<[u8]>::to_vec));
        }
    }
    forms
}

fn files_under(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        let listing = std::fs::read_dir(&next).map_err(|error| format!("leak search: {error}"))?;
        for entry in listing {
            let path = entry.map_err(|error| format!("leak search: {error}"))?.path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}
