//! How many bits the blind indexes of one table should keep.
//!
//! The rule is that of CipherSweet ("Blind Index Planning", paragonie.com): over a table of *R* rows,
//! indexes that keep *L* bits of values with *K* bits of variety each leave, of all rows, about
//! `E = R / 2^(sum of min(L, K))` that agree with a given one in all tokens. With `2 <= E <= sqrt(R)` a
//! token, or all tokens of a row together, never stand for one value alone, and a query opens no
//! more than `sqrt(R)` rows in vain.

use std::fmt;

use eonpro_core::phi::PhiSchema;
use eonpro_core::{Classify, ErrorKind};

/// Plans the indexes of one table. Pure: it reads no data and prints nothing.
///
/// ```
/// use eonpro_encryption::{IndexPlanner, Verdict};
///
/// // A million rows; of sexes there are few, of family names many.
/// let plan = IndexPlanner::new(1_000_000)?
///     .index("sex", 8, Some(3))?
///     .index("family", 16, None)?
///     .report();
/// assert_eq!(plan.verdict, Verdict::Fits);
/// assert_eq!(plan.false_hits.round(), 5.0);
/// # Ok::<(), eonpro_encryption::PlanError>(())
/// ```
#[derive(Debug, Clone)]
pub struct IndexPlanner {
    rows: u64,
    indexes: Vec<PlannedIndex>,
}

/// One index of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedIndex {
    /// Its name.
    pub name: String,
    /// The bits that it keeps: *L*.
    pub bits: u16,
    /// The variety of its values in bits, the binary logarithm of their number: *K*. Infinite if it
    /// is not known.
    pub variety: f64,
}

impl PlannedIndex {
    /// `min(L, K)`.
    fn effective(&self) -> f64 {
        f64::from(self.bits).min(self.variety)
    }
}

/// Why something cannot be planned.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Below four rows `2 <= E <= sqrt(R)` cannot hold.
    #[error("a plan needs at least 4 rows")]
    TooFewRows,
    /// Bits out of bounds.
    #[error("an index keeps 8 to 256 bits, a multiple of 8")]
    Bits,
    /// There are no values to index.
    #[error("an index needs at least 1 value")]
    NoValues,
    /// More indexes than a table may have in a plan.
    #[error("a plan has at most 256 indexes")]
    TooMany,
}

impl Classify for PlanError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

/// What a plan comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `E < 2`: a token stands for nearly one value, so equal tokens mean equal values. Inevitable
    /// for what must be unique; else keep fewer bits.
    TooPrecise,
    /// `2 <= E <= sqrt(R)`.
    Fits,
    /// `E > sqrt(R)`: a query opens many rows in vain. Keep more bits.
    TooCoarse,
}

/// A plan's report. `Display` renders it in Markdown.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanReport {
    /// How many rows the table has: *R*.
    pub rows: u64,
    /// The indexes.
    pub indexes: Vec<PlannedIndex>,
    /// How many rows agree with a given one in all tokens by chance: *E*.
    pub false_hits: f64,
    /// How that is.
    pub verdict: Verdict,
    /// The bits that are left for one more index of varied values.
    pub next: Recommendation,
}

/// How many bits an index may keep beside the others of its table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recommendation {
    /// The least for which `E <= sqrt(R)`; 0 if the others suffice.
    pub least: f64,
    /// The most for which `E >= 2`; below [`Self::least`] never, below 0 if the others are too
    /// precise already.
    pub most: f64,
    /// The most bits in between that an index can keep; `None` if there are none.
    pub bits: Option<u16>,
}

impl IndexPlanner {
    /// Plans for a table of `rows`: as many as it will have, not as it has today.
    ///
    /// # Errors
    /// [`PlanError::TooFewRows`] below 4.
    pub fn new(rows: u64) -> Result<Self, PlanError> {
        match rows {
            0..4 => Err(PlanError::TooFewRows),
            _ => Ok(Self {
                rows,
                indexes: Vec::new(),
            }),
        }
    }

    /// Plans all indexes of a record, as if their values were of any variety.
    ///
    /// # Errors
    /// As [`Self::new`] and [`Self::index`].
    pub fn of_schema(rows: u64, schema: &PhiSchema) -> Result<Self, PlanError> {
        let mut plan = Self::new(rows)?;
        for index in schema.indexes() {
            let name = match index.column() {
                Some(column) => format!("{}.{}", column.as_str(), index.name),
                None => index.name.to_owned(),
            };
            plan = plan.index(name, index.bits, None)?;
        }
        Ok(plan)
    }

    /// Adds an index that keeps `bits` of values of which there are `values`, after normalizing;
    /// `None` if there is no telling.
    ///
    /// # Errors
    /// [`PlanError::Bits`], [`PlanError::NoValues`], [`PlanError::TooMany`].
    pub fn index(
        mut self,
        name: impl Into<String>,
        bits: u16,
        values: Option<u64>,
    ) -> Result<Self, PlanError> {
        if !(8..=256).contains(&bits) || !bits.is_multiple_of(8) {
            return Err(PlanError::Bits);
        }
        if self.indexes.len() >= 256 {
            return Err(PlanError::TooMany);
        }
        let variety = match values {
            Some(0) => return Err(PlanError::NoValues),
            Some(values) => (values as f64).log2(),
            None => f64::INFINITY,
        };
        self.indexes.push(PlannedIndex {
            name: name.into(),
            bits,
            variety,
        });
        Ok(self)
    }

    /// What the plan comes to.
    #[must_use]
    pub fn report(self) -> PlanReport {
        let rows = self.rows as f64;
        let sum: f64 = self.indexes.iter().map(PlannedIndex::effective).sum();
        let false_hits = rows * (-sum).exp2();
        let verdict = if false_hits < 2.0 {
            Verdict::TooPrecise
        } else if false_hits > rows.sqrt() {
            Verdict::TooCoarse
        } else {
            Verdict::Fits
        };
        PlanReport {
            rows: self.rows,
            false_hits,
            verdict,
            next: Recommendation::beside(rows, sum),
            indexes: self.indexes,
        }
    }
}

impl Recommendation {
    /// `R / 2^(sum + bits)` between 2 and `sqrt(R)`, solved for the bits.
    fn beside(rows: f64, sum: f64) -> Self {
        let least = (rows.log2() / 2.0 - sum).max(0.0);
        let most = rows.log2() - 1.0 - sum;
        let fits = |bits: &u16| (least..=most).contains(&f64::from(*bits));
        Self {
            least,
            most,
            bits: (8..=256).step_by(8).rfind(fits),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooPrecise => "too precise: equal tokens mean equal values; keep fewer bits",
            Self::Fits => "fits",
            Self::TooCoarse => "too coarse: a query opens many rows in vain; keep more bits",
        })
    }
}

impl fmt::Display for PlanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| Index | Bits kept | Bits of variety |\n|---|---|---|")?;
        for index in &self.indexes {
            let name = &index.name;
            match index.variety.is_finite() {
                true => writeln!(f, "| `{name}` | {} | {:.1} |", index.bits, index.variety)?,
                false => writeln!(f, "| `{name}` | {} | any |", index.bits)?,
            }
        }
        let (rows, hits) = (self.rows, self.false_hits);
        writeln!(
            f,
            "\nOf {rows} rows about {hits:.3} agree with a given one by chance: {}.",
            self.verdict
        )?;
        match self.next.bits {
            Some(bits) => writeln!(f, "One more index may keep {bits} bits."),
            None => writeln!(f, "No number of bits fits one more index."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(rows: u64, indexes: &[(u16, Option<u64>)]) -> PlanReport {
        let mut plan = IndexPlanner::new(rows).unwrap();
        for (bits, values) in indexes {
            plan = plan.index("i", *bits, *values).unwrap();
        }
        plan.report()
    }

    #[test]
    fn the_expected_false_hits_are_those_of_the_rule() {
        for (rows, indexes, hits, verdict) in [
            (1 << 20, &[][..], 1_048_576.0, Verdict::TooCoarse),
            (1 << 20, &[(16, None)], 16.0, Verdict::Fits),
            // Ten bits are the least: E is the square root of R.
            (1 << 20, &[(16, Some(1024))], 1024.0, Verdict::Fits),
            (1 << 20, &[(16, Some(1023))], 1025.0, Verdict::TooCoarse),
            // The variety of the values counts where it is less than the bits.
            (1 << 20, &[(8, Some(2))], 524_288.0, Verdict::TooCoarse),
            (1 << 20, &[(8, Some(2)), (16, None)], 8.0, Verdict::Fits),
            // Nineteen bits are the most: E is 2.
            (1 << 20, &[(8, Some(8)), (16, None)], 2.0, Verdict::Fits),
            (
                1 << 20,
                &[(8, Some(9)), (16, None)],
                1.8,
                Verdict::TooPrecise,
            ),
            (1 << 20, &[(64, None)], 0.0, Verdict::TooPrecise),
            (4, &[(8, Some(2))], 2.0, Verdict::Fits),
            (u64::MAX, &[(256, None)], 0.0, Verdict::TooPrecise),
        ] {
            let report = plan(rows, indexes);
            let about = (report.false_hits - hits).abs() <= hits * 0.02;
            assert!(
                about || report.false_hits < 1e-9,
                "{rows} {indexes:?} {report:?}"
            );
            assert_eq!(report.verdict, verdict, "{rows} {indexes:?}");
        }
    }

    #[test]
    fn the_recommended_bits_are_the_most_that_fit() {
        for (rows, indexes, bits) in [
            (1_000_000, &[][..], Some(16)),
            (1_000, &[], Some(8)),
            // Between 8.3 and 15.6 there is no multiple of 8.
            (100_000, &[], None),
            (1_000_000, &[(8, None)], Some(8)),
            (1_000_000, &[(16, None)], None),
            (u64::MAX, &[], Some(56)),
        ] {
            let next = plan(rows, indexes).next;
            assert_eq!(next.bits, bits, "{rows} {indexes:?} {next:?}");
        }
    }

    #[test]
    fn what_cannot_be_planned_is_refused() {
        for rows in 0..4 {
            assert_eq!(IndexPlanner::new(rows).unwrap_err(), PlanError::TooFewRows);
        }
        let plan = IndexPlanner::new(4).unwrap();
        for bits in [0, 7, 12, 264] {
            let refused = plan.clone().index("i", bits, None);
            assert_eq!(refused.unwrap_err(), PlanError::Bits);
        }
        let refused = plan.clone().index("i", 8, Some(0));
        assert_eq!(refused.unwrap_err(), PlanError::NoValues);
        let mut full = plan;
        for _ in 0..256 {
            full = full.index("i", 8, None).unwrap();
        }
        assert_eq!(full.index("i", 8, None).unwrap_err(), PlanError::TooMany);
    }

    #[test]
    fn a_report_names_each_index_and_the_verdict() {
        let text = IndexPlanner::new(1 << 20)
            .and_then(|plan| plan.index("sex", 8, Some(2)))
            .and_then(|plan| plan.index("ssn", 64, None))
            .unwrap()
            .report()
            .to_string();
        for line in [
            "| `sex` | 8 | 1.0 |",
            "| `ssn` | 64 | any |",
            "Of 1048576 rows about 0.000 agree with a given one by chance: too precise: equal tokens \
             mean equal values; keep fewer bits.",
            "No number of bits fits one more index.",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    proptest! {
        #[test]
        fn a_recommended_index_makes_the_plan_fit(
            rows in 4_u64..,
            first in 0_u16..4,
            values in prop::option::of(1_u64..1_000_000),
        ) {
            let before: &[_] = &[(8 * first, values)];
            let before = if first == 0 { &[] } else { before };
            if let Some(bits) = plan(rows, before).next.bits {
                let after = [before, &[(bits, None)]].concat();
                prop_assert_eq!(plan(rows, &after).verdict, Verdict::Fits);
                let more = [before, &[(bits + 8, None)]].concat();
                prop_assert_eq!(plan(rows, &more).verdict, Verdict::TooPrecise);
            }
        }
    }
}
