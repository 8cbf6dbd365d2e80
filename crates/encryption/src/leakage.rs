//! What a column of blind index tokens gives away: the frequency attack, run on your own data.
//!
//! Equal values have equal tokens, so a thief of the table sees how often each value occurs, and
//! matches that with how often values occur elsewhere: the most frequent token with the most frequent
//! value, and so on down the ranks. That is the frequency analysis of Naveed, Kamara and Wright,
//! "Inference Attacks on Property-Preserving Encrypted Databases" (ACM CCS 2015), which recovered the
//! sexes, races and mortality risks of most patients of most of 200 hospitals.
//!
//! A report holds counts and ranks, never a value or a token.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use eonpro_core::{Classify, ErrorKind};

/// How many ranks a report tells one by one.
const RANKS: usize = 10;

/// Why the attack cannot be run.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeakageError {
    /// There are no tokens.
    #[error("there are no tokens to attack")]
    NoTokens,
    /// A weight is negative or no number, or all are 0.
    #[error("weights of the auxiliary values must be numbers from 0, not all 0")]
    Weight,
}

impl Classify for LeakageError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

/// What the attacker knows beforehand: which values there are, and how often each occurs, by census,
/// by other hospitals' data, or by a guess.
///
/// The values are those that the index normalizes to: for an index `year`, years.
#[derive(Clone)]
pub struct Auxiliary<V> {
    /// The share of each value, the most frequent first.
    ranked: Vec<(V, f64)>,
}

impl<V: Eq + Hash> Auxiliary<V> {
    /// Values with their weights, in any unit and order. A value that comes twice has the sum of its
    /// weights; values of equal weight keep the order in which they come first.
    ///
    /// # Errors
    /// [`LeakageError::Weight`].
    pub fn new(values: impl IntoIterator<Item = (V, f64)>) -> Result<Self, LeakageError> {
        let mut places = HashMap::new();
        let mut total = 0.0;
        for (value, weight) in values {
            if !weight.is_finite() || weight < 0.0 {
                return Err(LeakageError::Weight);
            }
            let next = places.len();
            let (_, sum) = places.entry(value).or_insert((next, 0.0));
            *sum += weight;
            total += weight;
        }
        if !total.is_finite() || total <= 0.0 {
            return Err(LeakageError::Weight);
        }
        let mut ranked: Vec<(V, usize, f64)> = places
            .into_iter()
            .map(|(value, (place, weight))| (value, place, weight / total))
            .collect();
        ranked
            .sort_by(|(_, one, less), (_, other, more)| more.total_cmp(less).then(one.cmp(other)));
        Ok(Self {
            ranked: ranked
                .into_iter()
                .map(|(value, _, share)| (value, share))
                .collect(),
        })
    }

    /// Attacks the tokens of a column, one for each row that has one. Pure; takes memory for the
    /// distinct tokens.
    ///
    /// # Errors
    /// [`LeakageError::NoTokens`].
    pub fn attack<T: AsRef<[u8]>>(
        &self,
        tokens: impl IntoIterator<Item = T>,
    ) -> Result<LeakageReport, LeakageError> {
        let mut classes: HashMap<Vec<u8>, u64> = HashMap::new();
        for token in tokens {
            let token = token.as_ref();
            match classes.get_mut(token) {
                Some(rows) => *rows += 1,
                None => {
                    classes.insert(token.to_vec(), 1);
                }
            }
        }
        let ranked = by_rank(classes, |rows| *rows);
        let ranked = ranked.into_iter().map(|(_, rows)| (rows, None)).collect();
        self.report(ranked, None)
    }

    /// Attacks rows whose values, as the index normalizes them, are known, and counts how many of
    /// them the attack guesses right. Pure; takes memory for the distinct tokens and values.
    ///
    /// # Errors
    /// As [`Self::attack`].
    pub fn attack_known<T: AsRef<[u8]>>(
        &self,
        rows: impl IntoIterator<Item = (T, V)>,
    ) -> Result<LeakageReport, LeakageError> {
        let mut classes: HashMap<Vec<u8>, Known<V>> = HashMap::new();
        let likeliest = self.ranked.first().map(|(value, _)| value);
        let mut blind = 0;
        for (token, value) in rows {
            blind += u64::from(likeliest == Some(&value));
            let class = classes.entry(token.as_ref().to_vec()).or_default();
            class.rows += 1;
            *class.values.entry(value).or_default() += 1;
        }
        let mut right = 0;
        let mut ranked = Vec::with_capacity(classes.len());
        let mut guesses = self.ranked.iter();
        for (_, class) in by_rank(classes, |class| class.rows) {
            let guess = guesses.next();
            let hits = guess.and_then(|(value, _)| class.values.get(value));
            let hits = hits.copied().unwrap_or(0);
            right += hits;
            ranked.push((class.rows, Some(hits)));
        }
        self.report(ranked, Some(Recovered { right, blind }))
    }

    /// `ranked` has the rows of each class, and how many of them were guessed right.
    fn report(
        &self,
        ranked: Vec<(u64, Option<u64>)>,
        recovered: Option<Recovered>,
    ) -> Result<LeakageReport, LeakageError> {
        let rows: u64 = ranked.iter().map(|(rows, _)| rows).sum();
        let Some((largest, _)) = ranked.first().copied() else {
            return Err(LeakageError::NoTokens);
        };
        let share = |part: u64| part as f64 / rows as f64;
        let ours = ranked.iter().map(|(rows, _)| share(*rows));
        let theirs = self.ranked.iter().map(|(_, share)| *share);
        let ranks = ranked.iter().zip(&self.ranked).take(RANKS);
        Ok(LeakageReport {
            rows,
            distinct: ranked.len() as u64,
            largest,
            // Not negated, so that one single token has 0 and not -0.
            min_entropy_bits: (rows as f64 / largest as f64).log2(),
            distance: distance(ours, theirs),
            recovered,
            ranks: ranks
                .map(|((rows, right), (_, expected))| RankLeak {
                    share: share(*rows),
                    expected: *expected,
                    right: *right,
                })
                .collect(),
        })
    }
}

/// The rows of one token, by their values.
struct Known<V> {
    rows: u64,
    values: HashMap<V, u64>,
}

impl<V> Default for Known<V> {
    fn default() -> Self {
        Self {
            rows: 0,
            values: HashMap::new(),
        }
    }
}

/// The most frequent first; those of one frequency in the order of their tokens, which is random but
/// the same each time.
fn by_rank<C>(classes: HashMap<Vec<u8>, C>, rows: impl Fn(&C) -> u64) -> Vec<(Vec<u8>, C)> {
    let mut ranked: Vec<_> = classes.into_iter().collect();
    ranked.sort_by(|(one, less), (other, more)| rows(more).cmp(&rows(less)).then(one.cmp(other)));
    ranked
}

/// The total variation distance of two lists of shares, rank by rank.
fn distance(mut ours: impl Iterator<Item = f64>, mut theirs: impl Iterator<Item = f64>) -> f64 {
    let mut sum = 0.0;
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return sum / 2.0,
            (our, their) => sum += (our.unwrap_or(0.0) - their.unwrap_or(0.0)).abs(),
        }
    }
}

impl<V> fmt::Debug for Auxiliary<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Auxiliary({} values)", self.ranked.len())
    }
}

/// What the attack made of a column. `Display` renders it in one paragraph.
#[derive(Debug, Clone, PartialEq)]
pub struct LeakageReport {
    /// How many rows have a token.
    pub rows: u64,
    /// How many tokens there are. One for each row shows nothing but that.
    pub distinct: u64,
    /// How many rows the most frequent token has.
    pub largest: u64,
    /// The min-entropy of the column in bits: `-log2(largest / rows)`. At 0 all rows are alike.
    pub min_entropy_bits: f64,
    /// How far the frequencies are from what the attacker expects, from 0, as expected, to 1: half
    /// the sum of the differences, rank by rank. A distance near 0 with few distinct tokens is what
    /// the attack lives on.
    pub distance: f64,
    /// How many rows were guessed right, if their values were known to the meter.
    pub recovered: Option<Recovered>,
    /// The first ten ranks.
    pub ranks: Vec<RankLeak>,
}

/// How many rows the attack recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovered {
    /// Rows whose value the attack guessed right.
    pub right: u64,
    /// Rows whose value anybody guesses right without a token, by the likeliest value for all. What
    /// the index gives away is what `right` has more.
    pub blind: u64,
}

/// One rank: a token, and the value that the attack takes it for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankLeak {
    /// The token's share of the rows.
    pub share: f64,
    /// The value's share, as the attacker expects it.
    pub expected: f64,
    /// How many of the token's rows have that value, if their values were known to the meter.
    pub right: Option<u64>,
}

impl LeakageReport {
    /// The part of the rows that the attack guessed right, from 0 to 1, if that is known.
    #[must_use]
    pub fn recovered_share(&self) -> Option<f64> {
        let recovered = self.recovered?;
        Some(recovered.right as f64 / self.rows as f64)
    }
}

impl fmt::Display for LeakageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rows, {} tokens, the largest with {} rows; min-entropy {:.1} bits, distance {:.3}",
            self.rows, self.distinct, self.largest, self.min_entropy_bits, self.distance,
        )?;
        let Some(Recovered { right, blind }) = self.recovered else {
            return Ok(());
        };
        let percent = |rows: u64| 100.0 * rows as f64 / self.rows as f64;
        write!(
            f,
            "; recovered {:.2} % of rows ({:.2} % without any token)",
            percent(right),
            percent(blind),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(classes: &[(u8, &'static str, usize)]) -> Vec<([u8; 1], &'static str)> {
        let rows = classes
            .iter()
            .flat_map(|(token, value, rows)| std::iter::repeat_n(([*token], *value), *rows));
        rows.collect()
    }

    #[test]
    fn a_column_of_few_values_is_recovered_whole() {
        let sexes = Auxiliary::new([("m", 48.0), ("f", 51.0), ("x", 1.0)]).unwrap();
        let rows = known(&[(9, "f", 60), (7, "m", 38), (8, "x", 2)]);
        let report = sexes.attack_known(rows.clone()).unwrap();
        assert_eq!(
            report.recovered,
            Some(Recovered {
                right: 100,
                blind: 60
            })
        );
        assert_eq!(report.recovered_share(), Some(1.0));
        assert_eq!((report.rows, report.distinct, report.largest), (100, 3, 60));
        assert!((report.min_entropy_bits - 0.737).abs() < 0.001);
        assert!((report.distance - 0.10).abs() < 1e-9, "{report}");
        let rights: Vec<_> = report.ranks.iter().map(|rank| rank.right).collect();
        assert_eq!(rights, [Some(60), Some(38), Some(2)]);

        // Without the values the report says the same of the tokens, and nothing of hits.
        let tokens = rows.iter().map(|(token, _)| token);
        let blind = sexes.attack(tokens).unwrap();
        assert_eq!(blind.recovered, None);
        assert_eq!((blind.distinct, blind.distance), (3, report.distance));
    }

    #[test]
    fn where_the_ranks_differ_the_attack_guesses_wrong() {
        let expected = Auxiliary::new([("a", 2.0), ("b", 1.0)]).unwrap();
        let report = expected
            .attack_known(known(&[(1, "a", 10), (2, "b", 20), (3, "c", 5)]))
            .unwrap();
        assert_eq!(
            report.recovered,
            Some(Recovered {
                right: 0,
                blind: 10
            })
        );
    }

    #[test]
    fn a_token_that_two_values_share_hides_one_in_the_other() {
        let expected = Auxiliary::new([("a", 3.0), ("b", 2.0), ("c", 1.0)]).unwrap();
        let report = expected
            .attack_known(known(&[(1, "a", 30), (1, "b", 20), (2, "c", 10)]))
            .unwrap();
        let recovered = report.recovered.unwrap();
        assert_eq!((recovered.right, report.distinct), (30, 2));
    }

    #[test]
    fn unique_values_show_nothing_to_the_attack() {
        let names: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        let expected = Auxiliary::new(names.iter().map(|name| (name.as_str(), 1.0))).unwrap();
        // A token has nothing to do with the order of its value.
        let rows = names.iter().enumerate().map(|(number, name)| {
            let token = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (token.to_be_bytes(), name.as_str())
        });
        let report = expected.attack_known(rows).unwrap();
        assert_eq!((report.distinct, report.largest), (1000, 1));
        assert!((report.min_entropy_bits - 1000_f64.log2()).abs() < 1e-9);
        assert!(report.recovered.unwrap().right < 10, "{report}");
        assert_eq!(report.ranks.len(), RANKS);
    }

    #[test]
    fn weights_that_are_none_and_columns_that_are_empty_are_refused() {
        for weights in [
            &[][..],
            &[0.0, 0.0],
            &[1.0, -1.0],
            &[f64::NAN],
            &[f64::INFINITY],
        ] {
            let values = weights.iter().copied().enumerate();
            assert_eq!(Auxiliary::new(values).unwrap_err(), LeakageError::Weight);
        }
        let expected = Auxiliary::new([("a", 1.0), ("a", 1.0)]).unwrap();
        let none: [[u8; 1]; 0] = [];
        assert_eq!(expected.attack(none).unwrap_err(), LeakageError::NoTokens);
        assert_eq!(expected.attack([[1]]).unwrap().distance, 0.0);
    }

    #[test]
    fn a_report_names_no_value_and_no_token() {
        let expected = Auxiliary::new([("Lovelace", 1.0)]).unwrap();
        let report = expected
            .attack_known([(b"tok-secret", "Lovelace")])
            .unwrap();
        for text in [
            format!("{report}"),
            format!("{report:?}"),
            format!("{expected:?}"),
        ] {
            assert!(
                !text.contains("Lovelace") && !text.contains("secret"),
                "{text}"
            );
        }
        assert_eq!(
            report.to_string(),
            "1 rows, 1 tokens, the largest with 1 rows; min-entropy 0.0 bits, distance 0.000; \
             recovered 100.00 % of rows (100.00 % without any token)"
        );
    }
}
