//! Blind indexes as a record declares them, and the tokens that are stored for them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::cell::{Column, Table};
use super::normalizer::Normalizer;

/// One blind index: over one column, or, as a compound, over several columns of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IndexDef {
    /// The table.
    pub table: Table,
    /// The index's name: unique within its column, or, of a compound, within its table.
    pub name: &'static str,
    /// How many bits of the MAC are kept: 8 to 256, a multiple of 8. Fewer bits leak less and
    /// give more false hits, which the caller filters by opening.
    pub bits: u16,
    /// The version with which the index begins, at least 1. Once the index was rotated in a scope,
    /// what the scope's key record says goes before it.
    pub version: u8,
    /// What is indexed, in the order of the MAC: one part, or the two to eight of a compound.
    pub parts: &'static [IndexPart],
}

impl IndexDef {
    /// The most parts of a compound index.
    pub const MAX_PARTS: usize = 8;

    /// The column, if the index is over one; `None` for a compound.
    #[must_use]
    pub const fn column(&self) -> Option<Column> {
        match self.parts {
            [part] => Some(part.column),
            _ => None,
        }
    }
}

/// One column of a blind index, and how its values are normalized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IndexPart {
    /// The column.
    pub column: Column,
    /// How its values are normalized.
    pub normalizer: Normalizer,
}

/// A blind index token: one version byte and the kept bits of an HMAC-SHA-256.
///
/// Equal normalized values of one column of one tenant have equal tokens; nothing else is shown.
/// Serializes as unpadded base64url text in human-readable formats and as bytes in others.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IndexToken(Vec<u8>);

impl IndexToken {
    /// From stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes to store and to compare.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, taken out.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The version of the index that made it; `None` if the bytes are no token.
    #[must_use]
    pub fn version(&self) -> Option<u8> {
        self.0.first().copied()
    }
}

impl fmt::Debug for IndexToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexToken({} bytes)", self.0.len())
    }
}

impl Serialize for IndexToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for IndexToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Vec::<u8>::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text);
        bytes.map(Self).map_err(serde::de::Error::custom)
    }
}

/// The tokens of one value of one index: at most one of an odd version and one of an even one.
///
/// Version *n* of an index lives in the slot of its parity, and each slot is a column of its own in
/// the table. While an index is rotated, versions *n* and *n* + 1 are both live, and a `UNIQUE`
/// constraint on each column holds throughout: a slot is emptied only after every row has the other
/// one, and the NULLs of SQL do not collide.
///
/// To find by it, ask for either: `WHERE ssn_odd = ?1 OR ssn_even = ?2`. A slot that is `None`
/// becomes NULL, which equals nothing.
///
/// Both slots are empty for a value that is absent, and for one that normalizes to nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexSlots {
    /// The token of the live version that is odd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odd: Option<IndexToken>,
    /// The token of the live version that is even.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub even: Option<IndexToken>,
}

impl IndexSlots {
    /// Puts `token` into the slot of its version and gives back what was there. A token without a
    /// version is dropped: it could be found by nothing.
    pub fn put(&mut self, token: IndexToken) -> Option<IndexToken> {
        let slot = match token.version()? % 2 {
            1 => &mut self.odd,
            _ => &mut self.even,
        };
        slot.replace(token)
    }

    /// The token in the slot of `version`, if it is of that very version.
    #[must_use]
    pub fn version(&self, version: u8) -> Option<&IndexToken> {
        let slot = match version % 2 {
            1 => &self.odd,
            _ => &self.even,
        };
        slot.as_ref()
            .filter(|token| token.version() == Some(version))
    }

    /// Whether there is no token: nothing finds the value by this index.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.odd.is_none() && self.even.is_none()
    }

    /// Whether a row with the slots `stored` is a hit of the query `self`: what the SQL above asks.
    #[must_use]
    pub fn finds(&self, stored: &Self) -> bool {
        let same = |mine: &Option<IndexToken>, theirs: &Option<IndexToken>| {
            mine.is_some() && mine == theirs
        };
        same(&self.odd, &stored.odd) || same(&self.even, &stored.even)
    }

    /// The tokens, the odd one first.
    pub fn tokens(&self) -> impl Iterator<Item = &IndexToken> {
        self.odd.iter().chain(&self.even)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(version: u8, tail: u8) -> IndexToken {
        IndexToken::from_bytes(vec![version, tail])
    }

    fn slots(tokens: &[(u8, u8)]) -> IndexSlots {
        let mut slots = IndexSlots::default();
        for (version, tail) in tokens {
            slots.put(token(*version, *tail));
        }
        slots
    }

    #[test]
    fn a_version_lives_in_the_slot_of_its_parity() {
        let mut both = slots(&[(3, 9), (4, 8)]);
        assert_eq!(
            (&both.odd, &both.even),
            (&Some(token(3, 9)), &Some(token(4, 8)))
        );
        assert_eq!(both.version(3), Some(&token(3, 9)));
        assert_eq!(both.version(5), None);
        assert_eq!(both.put(token(5, 7)), Some(token(3, 9)));
        assert_eq!(both.put(IndexToken::from_bytes(Vec::new())), None);
        assert_eq!(both, slots(&[(5, 7), (4, 8)]));
        assert_eq!(both.tokens().count(), 2);
    }

    #[test]
    fn a_query_finds_a_row_by_any_version_and_nothing_by_empty_slots() {
        let query = slots(&[(1, 9), (2, 8)]);
        assert!(query.finds(&slots(&[(1, 9)])));
        assert!(query.finds(&slots(&[(2, 8)])));
        assert!(query.finds(&slots(&[(1, 0), (2, 8)])));
        assert!(!query.finds(&slots(&[(1, 8), (2, 9)])));
        assert!(!query.finds(&IndexSlots::default()));
        assert!(!IndexSlots::default().finds(&IndexSlots::default()));
        assert!(IndexSlots::default().is_empty() && !query.is_empty());
    }

    #[test]
    fn slots_travel_as_base64url_text_without_those_that_are_empty() {
        for (slots, text) in [
            (
                slots(&[(1, 0xfb), (2, 0xff)]),
                r#"{"odd":"Afs","even":"Av8"}"#,
            ),
            (slots(&[(2, 0xff)]), r#"{"even":"Av8"}"#),
            (IndexSlots::default(), "{}"),
        ] {
            assert_eq!(serde_json::to_string(&slots).unwrap(), text);
            assert_eq!(serde_json::from_str::<IndexSlots>(text).unwrap(), slots);
        }
    }
}
