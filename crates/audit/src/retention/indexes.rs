//! A set of indexes of one log, kept as ranges: what is pruned together mostly stands together.

use std::ops::Range;

/// Ascending, apart, none empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Indexes(Vec<Range<u64>>);

impl Indexes {
    /// Adds an index above all that are there.
    pub(crate) fn push(&mut self, index: u64) {
        match self.0.last_mut() {
            Some(last) if last.end == index => last.end = index.saturating_add(1),
            _ => self.0.push(index..index.saturating_add(1)),
        }
    }

    /// From ranges that are ascending, apart and not empty.
    pub(crate) fn from_ranges(ranges: Vec<Range<u64>>) -> Option<Self> {
        let whole = ranges.iter().all(|range| range.start < range.end);
        let mut pairs = ranges.iter().zip(ranges.iter().skip(1));
        let apart = pairs.all(|(before, after)| before.end < after.start);
        (whole && apart).then_some(Self(ranges))
    }

    pub(crate) fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        let after = self.0.partition_point(|range| range.end <= index);
        self.0
            .get(after)
            .is_some_and(|range| range.contains(&index))
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_holds_what_was_put_in_and_nothing_else(
            wanted in prop::collection::btree_set(0_u64..60, 0..40),
        ) {
            let mut indexes = Indexes::default();
            for index in &wanted {
                indexes.push(*index);
            }
            let found: BTreeSet<u64> = (0..70).filter(|index| indexes.contains(*index)).collect();
            prop_assert_eq!(&found, &wanted);
            prop_assert_eq!(indexes.count(), wanted.len() as u64);
            prop_assert_eq!(Indexes::from_ranges(indexes.ranges().to_vec()), Some(indexes));
        }
    }

    #[test]
    fn ranges_have_one_spelling() {
        for bad in [vec![1..2, 3..3], vec![1..3, 3..4], vec![4..5, 1..2]] {
            assert_eq!(Indexes::from_ranges(bad), None);
        }
    }
}
