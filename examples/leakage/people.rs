//! People who never lived, drawn from the skewed frequencies that real columns have.

use eonpro::core::entropy::{Entropy as _, SeededEntropy};
use eonpro::core::id::RowId;
use eonpro::core::phi::Phi;
use eonpro::encryption::PhiRecord;

/// What a clinic would store. Only its index definitions are used here.
#[derive(Debug, PhiRecord)]
#[phi(
    table = "people",
    crate = "eonpro::core",
    index(
        name = "family_born",
        fields(family: "folded", born: "exact"),
        bits = 32
    )
)]
pub(crate) struct Record {
    #[phi(row)]
    pub(crate) id: RowId,
    #[phi(seal, index(bits = 8))]
    pub(crate) sex: Phi<String>,
    #[phi(seal, index(bits = 8, normalizer = "bucket:10"))]
    pub(crate) age: Phi<i64>,
    #[phi(seal, index(bits = 16, normalizer = "year"))]
    pub(crate) born: Phi<String>,
    #[phi(seal, index(bits = 16))]
    pub(crate) zip: Phi<String>,
    #[phi(
        seal,
        index(name = "start", bits = 16, normalizer = "prefix:3"),
        index(name = "whole", bits = 32, normalizer = "folded")
    )]
    pub(crate) family: Phi<String>,
    #[phi(
        seal,
        index(name = "last", bits = 8, normalizer = "last:4"),
        index(name = "whole", bits = 64, normalizer = "digits")
    )]
    pub(crate) ssn: Phi<String>,
}

/// One person.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) sex: String,
    pub(crate) age: i64,
    pub(crate) born: String,
    pub(crate) zip: String,
    pub(crate) family: String,
    pub(crate) ssn: String,
}

/// Where they come from; the same seed gives the same people.
#[derive(Debug)]
pub(crate) struct Country {
    entropy: SeededEntropy,
    born: u64,
}

const HEADS: [&str; 20] = [
    "smi", "john", "will", "brow", "gar", "mar", "dav", "rod", "lop", "wil", "and", "tho", "tay",
    "moor", "jack", "lee", "per", "whi", "har", "san",
];
const TAILS: [&str; 12] = [
    "son", "th", "ez", "er", "s", "ton", "ley", "field", "man", "ford", "ier", "ova",
];

impl Country {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            entropy: SeededEntropy::new(seed),
            born: 0,
        }
    }

    pub(crate) fn person(&mut self) -> Person {
        // A number that no other of 10^8 people has, in an order that shows nothing: the factor, a
        // power of 3, has no divisor of 10^8. No SSN begins with 9.
        self.born += 1;
        let serial = self.born.wrapping_mul(387_420_489) % 100_000_000;
        let ssn = format!("9{serial:08}");
        let (area, rest) = ssn.split_at(3);
        let (group, number) = rest.split_at(2);
        let year = 2025 - self.below(60).min(self.below(90));
        let (month, day) = (1 + self.below(12), 1 + self.below(28));
        let (head, tail) = (self.zipf(HEADS.len()), self.zipf(TAILS.len()));
        Person {
            sex: match self.below(1000) {
                0..505 => "f",
                505..995 => "m",
                _ => "x",
            }
            .to_owned(),
            age: 2025_i64.saturating_sub_unsigned(year),
            born: format!("{year:04}-{month:02}-{day:02}"),
            zip: format!("{:05}", 10_001 + 7 * self.zipf(400)),
            family: [HEADS.get(head), TAILS.get(tail)]
                .into_iter()
                .flatten()
                .copied()
                .collect(),
            ssn: format!("{area}-{group}-{number}"),
        }
    }

    /// Evenly below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes) % bound
    }

    /// A rank below `count`, each as frequent as the inverse of its number.
    fn zipf(&mut self, count: usize) -> usize {
        let weight = |rank: usize| 1_000_000 / (rank as u64 + 1);
        let total = (0..count).map(weight).sum();
        let mut left = self.below(total);
        for rank in 0..count {
            let own = weight(rank);
            if left < own {
                return rank;
            }
            left -= own;
        }
        0
    }
}
