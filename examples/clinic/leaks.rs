//! The search for leaks: every byte under a directory against every PHI value of the input.
//!
//! Each value is looked for as it is, in any letter case, JSON-escaped, as UTF-16, as hexadecimal,
//! and as base64 (both alphabets) in all three alignments; in file names too. Values under five
//! bytes are left out: they occur by chance. Of a long line its first 48 bytes are looked for, which
//! is at least as strict: whoever leaks the line leaks its beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

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
    /// How the values of each form that is plain and short are spelled.
    short: Vec<Vec<Vec<u8>>>,
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
                &person.full_name,
                &person.ssn,
                &person.mrn,
                &person.licence,
                &person.passport,
                &person.phone,
                &person.street,
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
            let cases =
                BTreeSet::from([value.to_owned(), value.to_lowercase(), value.to_uppercase()]);
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
        let mut spellings: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for value in values.iter().filter(|value| value.len() < SURE) {
            let folded = value.to_ascii_lowercase().into_bytes();
            let spelled = value.as_bytes().to_vec();
            spellings.entry(folded).or_default().push(spelled);
        }
        Ok(Self {
            values: values.len(),
            any_case: Forms::new(any_case, true, &spellings)?,
            exact: Forms::new(exact, false, &BTreeMap::new())?,
        })
    }

    /// How many values are looked for.
    pub fn values(&self) -> usize {
        self.values
    }

    /// Searches every file under `dir`, and the name of every file and directory.
    pub fn search(&self, dir: &Path) -> Result<Vec<Leak>, String> {
        let mut leaks = Vec::new();
        for path in paths_under(dir)? {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            self.scan(name, 0, 0..name.len(), &path, &mut leaks);
            if path.is_file() {
                self.search_file(&path, &mut leaks)?;
            }
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
            let last = read < CHUNK;
            // What follows the last bytes is not known yet: they are judged with the next chunk.
            let judged = if last {
                window.len()
            } else {
                window.len() - DATA_RUN
            };
            self.scan(&window, start, searched..judged, path, leaks);
            if last {
                return Ok(());
            }
            let dropped = window.len().saturating_sub(OVERLAP);
            window.drain(..dropped);
            start += dropped as u64;
            searched = judged - dropped;
        }
    }

    /// Searches `window`, which begins at `start`, for matches whose last byte is in `part`.
    fn scan(
        &self,
        window: &[u8],
        start: u64,
        part: Range<usize>,
        path: &Path,
        leaks: &mut Vec<Leak>,
    ) {
        for forms in [&self.any_case, &self.exact] {
            for found in forms.automaton.find_overlapping_iter(window) {
                let (from, to) = (found.start(), found.end());
                let spellings = forms.short.get(found.pattern().as_usize());
                let chance = spellings.is_some_and(|spellings| {
                    !spellings.is_empty() && is_chance(window, from, to, spellings)
                });
                if part.contains(&(to - 1)) && !chance {
                    leaks.push(Leak {
                        file: path.to_owned(),
                        offset: start + to as u64,
                    });
                }
            }
        }
    }

    /// Proves that the search works: plants every form of `value` under `dir`, finds each, and
    /// removes them again. Base64 is planted as whoever encodes a longer text writes it.
    pub fn control(&self, dir: &Path, value: &str) -> Result<(), String> {
        let failed = |error| format!("control value: {error}");
        let planted = dir.join("control");
        std::fs::create_dir(&planted).map_err(failed)?;
        let mut forms = text_forms(value);
        forms.push(value.to_uppercase().into_bytes());
        forms.push(hex(value));
        for before in ["", "a", "ab"] {
            let text = format!("{before}{value}z");
            forms.push(STANDARD.encode(&text).into_bytes());
            forms.push(URL_SAFE.encode(&text).into_bytes());
        }
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
        spellings: &BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    ) -> Result<Self, String> {
        let short = patterns
            .iter()
            .map(|pattern| spellings.get(pattern).cloned().unwrap_or_default());
        let short = short.collect();
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(fold)
            .build(&patterns)
            .map_err(|error| format!("too many values to search for: {error}"))?;
        Ok(Self { automaton, short })
    }
}

/// Whether a match of a few letters is one of the many that random data has: in a case that nobody
/// writes (`aDeLa`), neither its own (`McCoy`) nor a usual one, or in the middle of a long run of
/// base64 characters, where its neighbours are letters and digits too. The value in base64 has forms
/// of its own.
fn is_chance(window: &[u8], from: usize, to: usize, spellings: &[Vec<u8>]) -> bool {
    let found = window.get(from..to).unwrap_or_default();
    let rest = found.get(1..).unwrap_or_default();
    let lower = |bytes: &[u8]| !bytes.iter().any(u8::is_ascii_uppercase);
    let upper = |bytes: &[u8]| !bytes.iter().any(u8::is_ascii_lowercase);
    let own = spellings.iter().any(|spelled| spelled == found);
    if !(own || lower(found) || upper(found) || lower(rest)) {
        return true;
    }
    let is_data =
        |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let before = window.get(..from).unwrap_or_default();
    let after = window.get(to..).unwrap_or_default();
    let run = before
        .iter()
        .rev()
        .take(DATA_RUN)
        .take_while(is_data)
        .count()
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
    let escaped = escaped
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(&escaped);
    let ascii_escaped: String = escaped
        .encode_utf16()
        .map(|unit| match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => char::from(byte).to_string(),
            _ => format!("\\u{unit:04x}"),
        })
        .collect();
    vec![
        text.as_bytes().to_vec(),
        escaped.as_bytes().to_vec(),
        ascii_escaped.into_bytes(),
        text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
    ]
}

fn hex(text: &str) -> Vec<u8> {
    text.bytes()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect()
}

/// What any base64 text that contains `bytes` must contain, for each alignment and alphabet.
fn base64_forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for alignment in 0..3_usize {
        let shifted = [vec![0; alignment], bytes.to_vec()].concat();
        // The characters that mix with the neighbours' bits are cut off at both ends.
        let from = (alignment * 8).div_ceil(6);
        let to = shifted.len() * 8 / 6;
        for text in [
            STANDARD_NO_PAD.encode(&shifted),
            URL_SAFE_NO_PAD.encode(&shifted),
        ] {
            forms.extend(text.as_bytes().get(from..to).map(<[u8]>::to_vec));
        }
    }
    forms
}

/// Every file and directory, without following links.
fn paths_under(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |error| format!("leak search: {error}");
    let mut paths = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                open.push(entry.path());
            }
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
