//! The search for leaks: every byte under a directory against every PHI value of the input.
//!
//! Each value is looked for as it is, in any letter case, JSON-escaped, as UTF-16, as hexadecimal,
//! and as base64 (both alphabets) in all three alignments; in file names too. Values under five
//! bytes are left out: they occur by chance.
//!
//! Values are bytes: a line that is not UTF-8 has no UTF-16 and no JSON, but all other forms. Of a
//! long value, such as a long line of a note, its first 48 bytes are looked for. Whoever leaks the
//! whole line leaks those; a piece from its middle alone is not found.

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
/// A binary line begins with so many different bytes, or it says nothing: zeros are everywhere.
const TELLING: usize = 8;
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
        let mut values: BTreeSet<Vec<u8>> = BTreeSet::new();
        for person in &dataset.patients {
            let single = [
                &person.full_name,
                &person.ssn,
                &person.mrn,
                &person.licence,
                &person.passport,
                &person.street,
            ];
            let single = single.into_iter().flatten();
            let all = single.chain(&person.names).chain(&person.phones);
            values.extend(all.map(|value| value.expose().clone().into_bytes()));
        }
        let lines = dataset.notes.iter().filter_map(|note| {
            let lines = note.body.expose().split(|byte| *byte == b'\n');
            let lines = lines.map(<[u8]>::trim_ascii);
            lines
                .filter(|line| is_telling(line))
                .max_by_key(|line| line.len())
        });
        values.extend(lines.map(<[u8]>::to_vec));
        Self::new(values)
    }

    /// The given values, in all their forms.
    pub fn new(mut values: BTreeSet<Vec<u8>>) -> Result<Self, String> {
        values.retain(|value| value.len() >= SHORTEST);
        let (mut any_case, mut exact) = (BTreeSet::new(), BTreeSet::new());
        for value in &values {
            let value = beginning(value);
            for case in cases(value) {
                any_case.insert(hex(&case));
                for mut form in plain_forms(&case) {
                    // The automaton folds ASCII by itself.
                    form.make_ascii_lowercase();
                    any_case.insert(form);
                }
            }
            exact.extend(base64_forms(value));
        }
        let mut spellings: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for value in values.iter().filter(|value| value.len() < SURE) {
            let folded = value.to_ascii_lowercase();
            spellings.entry(folded).or_default().push(value.clone());
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
        forms.push(hex(value.as_bytes()));
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

/// The birth dates in the log, after the proof that one would be found. The whole search leaves them
/// out, since dates are everywhere; but the careless lines had them.
pub fn births_in(logs: &Path, dataset: &Dataset) -> Result<Vec<Leak>, String> {
    // `PREFIX-YYYY-MM-DD.jsonl` begins each of its lines with that day.
    let days = paths_under(logs)?;
    let is_day = |born: &str| {
        let mut names = days.iter().filter_map(|path| path.file_name()?.to_str());
        names.any(|name| name.contains(born))
    };
    let births = dataset
        .patients
        .iter()
        .filter_map(|person| person.birth_date.as_ref());
    let births = births.map(|born| born.expose().as_str());
    let births: Vec<&str> = births
        .filter(|born| born.len() >= SHORTEST && !is_day(born))
        .collect();
    let needles = births.iter().map(|born| born.as_bytes().to_vec());
    let needles = Needles::new(needles.collect())?;
    if let Some(born) = births.first() {
        needles.control(logs, born)?;
    }
    needles.search(logs)
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

/// The first [`LONGEST`] bytes; of a text no half character.
fn beginning(value: &[u8]) -> &[u8] {
    let end = match str::from_utf8(value) {
        Ok(text) => text.floor_char_boundary(LONGEST),
        Err(_) => value.len().min(LONGEST),
    };
    value.get(..end).unwrap_or(value)
}

/// Whether a line is text, or begins unlike the paddings and tables that other files have too.
fn is_telling(line: &[u8]) -> bool {
    let is_binary = |letter: char| letter.is_control() && !letter.is_whitespace();
    let is_text = str::from_utf8(line).is_ok_and(|text| !text.contains(is_binary));
    let different: BTreeSet<&u8> = beginning(line).iter().collect();
    is_text || different.len() >= TELLING
}

/// The value and, of a text, its other letter cases; those of ASCII are the automaton's.
fn cases(value: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut cases = BTreeSet::from([
        value.to_vec(),
        value.to_ascii_lowercase(),
        value.to_ascii_uppercase(),
    ]);
    if let Ok(text) = str::from_utf8(value) {
        cases.insert(text.to_lowercase().into_bytes());
        cases.insert(text.to_uppercase().into_bytes());
    }
    cases
}

/// The value as it is and, of a text, as JSON and UTF-16.
fn plain_forms(value: &[u8]) -> Vec<Vec<u8>> {
    str::from_utf8(value).map_or_else(|_| vec![value.to_vec()], text_forms)
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

fn hex(value: &[u8]) -> Vec<u8> {
    value
        .iter()
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
