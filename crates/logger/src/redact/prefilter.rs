//! A cheap look that clears most texts: no pattern matches without what is looked for here.

use aho_corasick::{AhoCorasick, BuildError};

use super::name;

// The shortest number that a pattern takes without a keyword: `1/5/80`.
const FEWEST_DIGITS: usize = 4;

// Keywords of patterns that take fewer digits, or none.
const WORDS: &[&str] = &[
    "mr", "medical", "record", "chart", "patient", "ssn", "social", "bearer", "basic", "eyj",
];

// Keywords of patterns that need a sign of assignment: `password=`, `"name":`.
const ASSIGNED: &[&str] = &["api", "cookie", "pwd"];

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Prefilter {
    words: AhoCorasick,
    assigned: AhoCorasick,
}

impl Prefilter {
    /// `keys` are the field names that count within text, beside the built-in ones.
    pub(super) fn new(keys: &[&str]) -> Result<Self, BuildError> {
        let built_in = [
            name::TERMS,
            name::PARTS,
            name::WHOLE,
            name::QUOTED,
            ASSIGNED,
        ]
        .concat();
        // The first word of a name stands in every spelling of it.
        let first_words = keys.iter().chain(&built_in).filter_map(|key| {
            key.split(|char: char| !char.is_ascii_alphanumeric())
                .find(|word| !word.is_empty())
        });
        let mut builder = AhoCorasick::builder();
        builder.ascii_case_insensitive(true);
        Ok(Self {
            words: builder.build(WORDS)?,
            assigned: builder.build(first_words)?,
        })
    }

    /// Whether any pattern may match in `text`.
    pub(super) fn admit(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        bytes
            .iter()
            .filter(|byte| byte.is_ascii_digit())
            .nth(FEWEST_DIGITS - 1)
            .is_some()
            || memchr::memchr2(b'@', b'%', bytes).is_some()
            || self.words.is_match(text)
            || (memchr::memchr2(b':', b'=', bytes).is_some() && self.assigned.is_match(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_messages_are_cleared_at_once() {
        let prefilter = Prefilter::new(&["chief_complaint"]).unwrap();
        for text in [
            "request finished",
            "took 15 ms: ok",
            "wrote the name",
            "chief",
        ] {
            assert!(!prefilter.admit(text), "{text}");
        }
        for text in [
            "1/5/80",
            "a@b.c",
            "MRN x",
            "MR# 1",
            "name=x",
            "line: 'x'",
            "Chief-Complaint: 'x'",
        ] {
            assert!(prefilter.admit(text), "{text}");
        }
    }
}
