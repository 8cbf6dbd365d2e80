//! The shapes of identifiers in free text, as regular expressions with a verdict for each match.
//!
//! The search goes from left to right, and a run of digits is always taken from its first digit:
//! the last pattern takes any run that no other wanted. So no pattern needs to look behind itself,
//! and none can begin in the middle of a number. For the same reason the last group of a pattern
//! is open-ended: a number with a digit too many is redacted whole. Numbers are judged by shape
//! alone. Whether an area code, a checksum or a month exists does not matter: a false alarm in a
//! log is cheap, a leak is not.

use regex_automata::meta::Regex;
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::{Input, Span};

use super::kind::Redaction;
use super::name;

/// What becomes of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is replaced.
    Redact(Redaction),
    /// It is left alone as a whole: nothing within it is looked at.
    Keep,
    /// It was none: the search goes on behind its first character.
    Retry,
}

/// How a match is judged.
#[derive(Debug, Clone, Copy)]
enum Judge {
    Always(Redaction),
    Keep,
    /// A hash or a trace id if it has letters, else a run of digits.
    Hex,
    /// Digits, of which at least so many.
    Digits(Redaction, usize),
    /// Decimals: kept, unless as many as a number of a person has. That many mean nobody here.
    Fraction(usize),
    /// `token: value`, where prose must not count.
    Token,
    Run,
}

// Any letter beyond ASCII may stand in an address.
const MAIL: &str = r"[A-Za-z0-9.%+'_\-\u{80}-\u{10ffff}]+(?:@|%40)[A-Za-z0-9_\-\u{80}-\u{10ffff}]+(?:\.[A-Za-z0-9_\-\u{80}-\u{10ffff}]+)+";
// The states that the patterns reach in ordinary text fit in.
const CACHE_BYTES: usize = 4 * 1024 * 1024;
// Between the groups of a number: white space, hyphens and dashes of any kind, dots, slashes,
// middle dots, and all of them percent-encoded or as escapes of JSON and of `Debug`.
const SEP: &str = r"(?:[\t-\r .\-/+_\u{a0}\u{ad}\u{b7}\u{2000}-\u{2015}\u{202f}\u{205f}\u{2212}\u{3000}]|%2[0dDfFbBeE]|\\[nrt]|\\u\{[0-9a-fA-F]{1,6}\}|\\u[0-9a-fA-F]{4}){1,3}";
const ESCAPE: &str =
    r"(?:%[0-9A-Fa-f]{2}|\\x[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\u\{[0-9A-Fa-f]{1,6}\})?";
const MONTH: &str = "(?i-u:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|\
    aug(?:ust)?|sep(?:t|tember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)";
const ORDINAL: &str = "(?i-u:st|nd|rd|th)?";
// A value in quotes, plain or escaped, open at the end of a text that was cut.
const QUOTED: &str =
    r#"(?:"(?s:[^"\\]|\\.)*(?:"|\z)|\\+"(?s:[^"\\]|\\+[^"\\])*(?:\\+"|\z)|'[^']*(?:'|\z))"#;
// White space between the members of a list, plain or escaped.
const GAP: &str = r"(?:[\t-\r ]|\\+[nrt])*";
const BARE: &str = r#"[^\s"',;&)}\]]+"#;
const UUID: &str = r"(?-u:\b)[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}";
const TOKEN: &str = "[A-Za-z0-9][A-Za-z0-9_./-]*";
const TOKEN_WITH_DIGIT: &str = "[A-Za-z_./-]*[0-9][A-Za-z0-9_./-]*";

/// The compiled patterns.
#[derive(Debug)]
pub(super) struct Patterns {
    mail: Regex,
    rest: Regex,
    judges: Vec<Judge>,
}

/// The matches of one text, from left to right.
#[derive(Debug)]
pub(super) struct Matches<'p, 't> {
    patterns: &'p Patterns,
    text: &'t str,
    // The next address, while there may be one: it is looked for once, not at every step.
    mail: Option<Span>,
}

impl Patterns {
    /// All patterns; `keys` are field names that count in `key="value"` too.
    pub(super) fn new<'k>(
        keys: impl Iterator<Item = &'k str>,
    ) -> Result<Self, Box<regex_automata::meta::BuildError>> {
        // In order of priority where several begin at the same place.
        let mut table = words(keys);
        table.extend(numbers());
        let (texts, judges): (Vec<String>, Vec<Judge>) = table.into_iter().unzip();
        let build = |texts: &[String]| {
            Regex::builder()
                .configure(
                    Regex::config()
                        .which_captures(WhichCaptures::Implicit)
                        .hybrid_cache_capacity(CACHE_BYTES),
                )
                .build_many(texts)
                .map_err(Box::new)
        };
        Ok(Self {
            mail: build(&[MAIL.to_owned()])?,
            rest: build(&texts)?,
            judges,
        })
    }

    pub(super) fn matches<'p, 't>(&'p self, text: &'t str) -> Matches<'p, 't> {
        let mut matches = Matches {
            patterns: self,
            text,
            mail: None,
        };
        if memchr::memchr2(b'@', b'%', text.as_bytes()).is_some() {
            matches.mail = matches.mail_from(0);
        }
        matches
    }
}

impl Matches<'_, '_> {
    /// The next match that begins at or behind `from`: where it is and what becomes of it.
    pub(super) fn next(&mut self, from: usize) -> Option<(Span, Verdict)> {
        if self.mail.is_some_and(|mail| mail.start < from) {
            self.mail = self.mail_from(from);
        }
        let rest = self
            .patterns
            .rest
            .find(Input::new(self.text).span(from..self.text.len()));
        let Some(found) = rest else {
            return self
                .mail
                .map(|mail| (mail, Verdict::Redact(Redaction::Email)));
        };
        if let Some(mail) = self.mail.filter(|mail| mail.start <= found.start()) {
            return Some((mail, Verdict::Redact(Redaction::Email)));
        }
        let matched = self.text.get(found.range()).unwrap_or_default();
        let judge = self.patterns.judges.get(found.pattern().as_usize());
        Some((
            found.span(),
            judge.map_or(Verdict::Retry, |judge| judge.verdict(matched)),
        ))
    }

    fn mail_from(&self, from: usize) -> Option<Span> {
        let input = Input::new(self.text).span(from..self.text.len());
        self.patterns.mail.find(input).map(|found| found.span())
    }
}

impl Judge {
    fn verdict(self, matched: &str) -> Verdict {
        match self {
            Self::Always(kind) => Verdict::Redact(kind),
            Self::Keep => Verdict::Keep,
            Self::Hex if matched.bytes().filter(u8::is_ascii_alphabetic).count() > 1 => {
                Verdict::Keep
            }
            Self::Hex | Self::Run => run(matched),
            Self::Digits(kind, least) if digits(matched) >= least => Verdict::Redact(kind),
            Self::Digits(..) => Verdict::Retry,
            Self::Fraction(harmless) => {
                let decimals = matched.rsplit('.').next().unwrap_or_default();
                match decimals.len() {
                    9 | 10 | 16 if decimals.len() != harmless => run(decimals),
                    _ => Verdict::Keep,
                }
            }
            Self::Token => {
                let value = matched
                    .split_once([':', '='])
                    .map_or("", |(_, value)| value.trim());
                let told = matched.contains('=') || value.contains(['"', '\'']);
                if told || digits(value) > 0 || value.len() >= 20 {
                    Verdict::Redact(Redaction::Secret)
                } else {
                    Verdict::Retry
                }
            }
        }
    }
}

/// What a bare run of digits is, by its length alone.
pub(super) fn run(matched: &str) -> Verdict {
    match digits(matched) {
        8 if is_compact_date(matched) => Verdict::Redact(Redaction::Date),
        0..=8 => Verdict::Keep,
        9 => Verdict::Redact(Redaction::Ssn),
        10..=12 => Verdict::Redact(Redaction::Phone),
        _ => Verdict::Redact(Redaction::Card),
    }
}

fn digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

// HL7 v2 and many exports write dates as YYYYMMDD.
fn is_compact_date(run: &str) -> bool {
    let part = |from, to| {
        run.get(from..to)
            .and_then(|part: &str| part.parse::<u16>().ok())
    };
    matches!(part(0, 4), Some(1850..=2150))
        && matches!(part(4, 6), Some(1..=12))
        && matches!(part(6, 8), Some(1..=31))
}

/// Patterns that begin with a word, and ids that must not be taken for numbers.
fn words<'k>(keys: impl Iterator<Item = &'k str>) -> Vec<(String, Judge)> {
    use Judge::{Always, Hex, Keep};
    use Redaction::Secret;
    let mut table = vec![
        (format!("{UUID}(?-u:\\b)"), Keep),
        (
            r"(?-u:\b)(?:[0-9a-f]{16}|[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})(?-u:\b)".to_owned(),
            Hex,
        ),
        // JSON in base64, and so every JWT, whole or cut.
        (
            r"eyJ[A-Za-z0-9_+/=-]{12,}(?:\.[A-Za-z0-9_+/=-]*)*".to_owned(),
            Always(Secret),
        ),
    ];
    table.extend(identifiers());
    table.extend(assignments(keys));
    table
}

/// Numbers of a person behind the word that says which.
///
/// How many digits make one stands in the pattern: a verdict that refuses the match would refuse
/// it to the patterns of [`assignments`] too, which begin with the same words.
fn identifiers() -> Vec<(String, Judge)> {
    use Judge::{Always, Keep};
    use Redaction::{Date, Id, Mrn, Phone, Ssn};
    let mrn = "(?i-u:mrn|medical[ _-]?rec(?:ord)?s?|(?:record|chart)[ _-]?(?:number|num|no\\b|nr\\b|#)\
               |\\bmr[ _-]?(?:number\\b|num\\b|no\\b|nr\\b|#))\
               (?i-u:[ _-]?(?:number|num|no|nr|id|#)\\b)?";
    let patient = "(?i-u:patients?[ _-]?(?:ids?|number|num|no|nr)\\b|patient ?#)\
                   (?:[^A-Za-z0-9]{1,4}(?i-u:is|was)(?-u:\\b))?[^A-Za-z0-9]{0,12}";
    let id = "(?i-u:passport|licen[cs]e|account|acct|member(?:ship)?|policy|beneficiary|subscriber)\
              (?i-u:[ _-]?(?:number|num|no|nr|id|#)\\b)?";
    let driver = "(?i-u:\\b(?:dln?|lic)\\b(?:[ .]?(?:number|num|no|nr)\\b)?)[^A-Za-z0-9]{0,4}";
    let birth = "(?i-u:\\bborn\\b|(?:\\b|_)d\\.?o\\.?b\\b|birth)[^0-9]{0,24}";
    // Words between a keyword and its value: `MRN of the patient is 12`.
    let filler = "(?:[^A-Za-z0-9]{1,4}[A-Za-z]+){0,5}[^A-Za-z0-9]{0,12}";
    let groups = format!("(?:{SEP}[0-9]+)*");
    let four_digits =
        format!("[A-Za-z_./-]*[0-9](?:(?:[A-Za-z_./-]*|{SEP})[0-9]){{3,}}[A-Za-z0-9_./-]*{groups}");
    let list = list();
    vec![
        (
            format!(r#"{mrn}(?:\\*["'])?\s*[:=#]\s*(?:{list}|(?:Some\()?\\*["']?{TOKEN}{groups})"#),
            Always(Mrn),
        ),
        (format!("{mrn}{filler}{TOKEN_WITH_DIGIT}{groups}"), Always(Mrn)),
        // Our own ids of patients are UUIDs and mean nobody elsewhere.
        (format!("{patient}{UUID}(?-u:\\b)"), Keep),
        (format!("{patient}{TOKEN_WITH_DIGIT}{groups}"), Always(Mrn)),
        // However it is grouped; in its own grouping it ends where it should.
        (
            format!(
                "(?i-u:ssn|social[ _-]?security)[^0-9]{{0,24}}(?:[0-9]{{3}}{SEP}[0-9]{{2}}{SEP}[0-9]{{4,}}\
                 |[0-9](?:(?:{SEP})?[0-9]){{3,}})"
            ),
            Always(Ssn),
        ),
        (
            "(?i-u:phone|\\b(?:tel|cell|ph)\\b|mobile|\\bfax|\\bsms)[^0-9+(]{0,16}[+(]?[0-9](?:[-\\s().x/]{0,3}[0-9]){5,}"
                .to_owned(),
            Always(Phone),
        ),
        // Elsewhere `5.1.80` is a version and `1980 01 05` are three numbers.
        (
            format!(
                "{birth}(?:[0-9]{{4}}{SEP}[0-9]{{1,2}}{SEP}[0-9]+|[0-9]{{1,2}}{SEP}[0-9]{{1,2}}{SEP}[0-9]{{2,}}\
                 |[0-9]{{6,}}){groups}"
            ),
            Always(Date),
        ),
        (format!("(?:{id}{filler}|{driver}){four_digits}"), Always(Id)),
    ]
}

/// Values behind the name of a secret or of a field.
fn assignments<'k>(keys: impl Iterator<Item = &'k str>) -> Vec<(String, Judge)> {
    use Judge::{Always, Token};
    use Redaction::{Field, Secret};
    let secret = "(?i-u:password|passwd|passphrase|pwd|secret|api[_-]?key|\
                  authorization|credentials?)[A-Za-z0-9_-]*";
    let token = "(?i-u:token|cookie)[A-Za-z0-9_-]*";
    let assigned = r#"(?:\\*["'])?\s*[:=]\s*"#;
    let value = value();
    vec![
        (
            r"(?i-u:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}".to_owned(),
            Always(Secret),
        ),
        (
            format!("{secret}{assigned}(?:{value}|(?:(?i-u:bearer|basic)\\s+)?{BARE})"),
            Always(Secret),
        ),
        (format!("{token}{assigned}(?:{value}|{BARE})"), Token),
        (
            format!(
                r#"{}(?:\\*["'])?\s*(?:=>?\s*(?:{value}|{BARE})|:\s*{value})"#,
                key_names(keys)
            ),
            Always(Field),
        ),
        (
            format!("(?i-u:\\b(?:{})){assigned}{value}", name::QUOTED.join("|")),
            Always(Field),
        ),
    ]
}

/// A quoted value, alone or wrapped, or several of them in a list, a set or a tuple.
///
/// In none of these can a comma and a text begin the next field of an object: nothing is taken
/// for a value that is the key of another.
fn value() -> String {
    let list = list();
    let more = format!("(?:{GAP},{GAP}{QUOTED})*");
    let set = format!(r"\{{{GAP}{QUOTED}{more}(?:{GAP},)?{GAP}(?:\}}|\z)");
    let tuple = format!(r"(?:[A-Za-z]*\({GAP}){{1,3}}{QUOTED}{more}");
    format!("(?:{list}|{set}|{tuple}|{QUOTED})")
}

/// A list that begins with a quoted value; what is no text, such as `null`, does not end it.
fn list() -> String {
    let item = format!(r"(?:[A-Za-z]+\()?{QUOTED}\)?");
    format!(
        r"(?:[A-Za-z]+\(){{0,2}}\[{GAP}{item}(?:{GAP},{GAP}(?:{item}|[A-Za-z0-9_.+-]+))*(?:(?:{GAP},)?{GAP}\])?"
    )
}

/// Patterns that begin with a digit, a sign or a month.
fn numbers() -> Vec<(String, Judge)> {
    use Judge::{Always, Digits, Fraction, Keep, Run};
    use Redaction::{Card, Date, Phone, Ssn};
    let year = "(?:[0-9]{4}|[0-9]{2})";
    let dash = r" ?[-\u{2010}-\u{2015}] ?";
    let extension = r"(?: ?(?i-u:x|ext)\.? ?[0-9]+)?";
    // The digits of an escape must not be taken for the first ones of the number behind it.
    let shapes = [
        (
            r"[0-9]{4}(?:-[0-9]{1,2}-|/[0-9]{1,2}/|\.[0-9]{1,2}\.)[0-9]{1,2}".to_owned(),
            Date,
        ),
        (format!("[0-9]{{3}}{SEP}[0-9]{{2}}{SEP}[0-9]{{4,}}"), Ssn),
        (
            format!(r"(?:1{SEP})?\(?[0-9]{{3}}\)?(?:{SEP})?[0-9]{{3}}{SEP}[0-9]{{4,}}{extension}"),
            Phone,
        ),
        (
            format!(r"\([0-9]{{3}}\)(?:{SEP})?[0-9]{{7,}}|[0-9]{{3}}{SEP}[0-9]{{7,}}"),
            Phone,
        ),
        (
            format!("(?:[0-9]{{4}}{SEP}){{3}}[0-9]+(?:{SEP}[0-9]{{3}})?"),
            Card,
        ),
        (format!("[0-9]{{4}}{SEP}[0-9]{{6}}{SEP}[0-9]{{4,}}"), Card),
        (format!("[0-9]{{1,2}} ?/ ?[0-9]{{1,2}} ?/ ?{year}"), Date),
        (format!("[0-9]{{1,2}}{dash}[0-9]{{1,2}}{dash}{year}"), Date),
        (r"[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}".to_owned(), Date),
        (
            format!(r"[0-9]{{1,2}}{ORDINAL}[\s.\-/]{{0,2}}(?:of )?{MONTH}[\s.,\-/]{{0,2}}{year}"),
            Date,
        ),
        (
            format!(r"[0-9]{{4}}[\s.\-/]?{MONTH}[\s.\-/]?[0-9]{{1,2}}"),
            Date,
        ),
        (
            format!(r"{MONTH}[\s.\-/]{{0,2}}(?:[0-9]{{1,2}}{ORDINAL}[\s.,\-/]{{1,2}})?[0-9]{{4}}"),
            Date,
        ),
        // As most countries write them at home.
        (r"0[0-9]{1,4}(?:[ .\-/][0-9]{2,}){2,}".to_owned(), Phone),
        (r"[0-9]{3}-[0-9]{6}|[0-9]{5}-[0-9]{4,}".to_owned(), Ssn),
        (r"[0-9]{3}-[0-9]{4,}".to_owned(), Phone),
        (r"[0-9]{4,}[-\s][0-9]{4,}[-\s][0-9]{5,}".to_owned(), Card),
        (
            r"[0-9]{4,}[-\s][0-9]{9,}|[0-9]{8,}[-\s][0-9]{5,}".to_owned(),
            Card,
        ),
    ];
    // A time of day and a duration, in nanoseconds, and the digits of a float.
    let mut table = vec![
        (
            r"[0-9]{1,2}:[0-9]{2}:[0-9]{2}\.[0-9]{8,}".to_owned(),
            Fraction(9),
        ),
        (r"[0-9]{1,6}\.[0-9]{9}s(?-u:\b)".to_owned(), Keep),
        (r"[0-9]{1,6}\.[0-9]{8,}".to_owned(), Fraction(0)),
    ];
    table.extend(
        shapes
            .into_iter()
            .map(|(shape, kind)| (format!("{ESCAPE}(?:{shape})"), Always(kind))),
    );
    table.push((
        r"\+[0-9]+(?:[-\s().]{1,3}[0-9]+)*".to_owned(),
        Digits(Phone, 7),
    ));
    table.push(("[0-9]+".to_owned(), Run));
    table
}

/// The alternatives of all keys: those that may end a longer name, and those that stand alone.
fn key_names<'k>(keys: impl Iterator<Item = &'k str>) -> String {
    let any_of = |names: &mut dyn Iterator<Item = &str>| {
        let names: Vec<String> = names
            .map(any_spelling)
            .filter(|name| !name.is_empty())
            .collect();
        names.join("|")
    };
    let within = any_of(&mut keys.chain(name::TERMS.iter().chain(name::PARTS).copied()));
    let whole = any_of(&mut name::WHOLE.iter().copied());
    format!("(?i-u:(?:\\b|_)(?:{within})|\\b(?:{whole}))")
}

// Only letters, digits and separators enter the pattern: nothing needs escaping.
fn any_spelling(key: &str) -> String {
    key.split(|char: char| !char.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("[_-]?")
}
