//! Byte patterns looked for in a stream, also across the borders of its parts.

use std::sync::Arc;

use aho_corasick::AhoCorasick;

use crate::error::StorageError;

/// Compiled patterns, cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Patterns {
    find: Arc<AhoCorasick>,
    overlap: usize,
}

impl Patterns {
    pub(crate) fn new<P: AsRef<[u8]>>(patterns: &[P]) -> Result<Self, StorageError> {
        let longest = patterns.iter().map(|pattern| pattern.as_ref().len()).max();
        let shortest = patterns.iter().map(|pattern| pattern.as_ref().len()).min();
        if shortest.is_none_or(|len| len == 0) {
            return Err(StorageError::Config("a byte pattern is empty"));
        }
        let find = AhoCorasick::new(patterns)
            .map_err(|_| StorageError::Config("byte patterns do not compile"))?;
        Ok(Self {
            find: Arc::new(find),
            overlap: longest.unwrap_or(1).saturating_sub(1),
        })
    }
}

/// One search through one stream.
#[derive(Debug)]
pub(crate) struct StreamSearch {
    patterns: Patterns,
    /// The last bytes of the stream, one fewer than the longest pattern.
    tail: Vec<u8>,
}

impl StreamSearch {
    pub(crate) fn new(patterns: Patterns) -> Self {
        Self {
            patterns,
            tail: Vec::new(),
        }
    }

    /// The index of a pattern that ends in `part`, perhaps having begun in an earlier one.
    pub(crate) fn see(&mut self, part: &[u8]) -> Option<usize> {
        let overlap = self.patterns.overlap;
        let joint = part.get(..overlap.min(part.len())).unwrap_or(part);
        self.tail.extend_from_slice(joint);
        let found = self
            .patterns
            .find
            .find(&self.tail)
            .or_else(|| self.patterns.find.find(part));
        if part.len() > overlap {
            self.tail.clear();
            let rest = part.len() - overlap;
            self.tail
                .extend_from_slice(part.get(rest..).unwrap_or(part));
        }
        let surplus = self.tail.len().saturating_sub(overlap);
        self.tail.drain(..surplus);
        found.map(|found| found.pattern().as_usize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pattern_is_found_however_the_stream_is_cut(
            before in "[a-c]{0,40}",
            present in any::<bool>(),
            after in "[a-c]{0,40}",
            cuts in prop::collection::vec(1_usize..9, 1..20),
        ) {
            let needle = if present { "needle" } else { "nxxdle" };
            let stream = format!("{before}{needle}{after}").into_bytes();
            let mut search = StreamSearch::new(Patterns::new(&["other", "needle"]).unwrap());
            let mut found = None;
            let mut rest = stream.as_slice();
            for size in cuts.iter().cycle() {
                let (part, next) = rest.split_at((*size).min(rest.len()));
                found = found.or(search.see(part));
                rest = next;
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(found, present.then_some(1));
        }
    }

    #[test]
    fn no_pattern_and_an_empty_one_do_not_compile() {
        assert!(Patterns::new::<&str>(&[]).is_err());
        assert!(Patterns::new(&["a", ""]).is_err());
    }
}
