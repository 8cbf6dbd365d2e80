//! Blind indexes: equality search over randomized ciphertext.
//!
//! A token is `version || first bits / 8 bytes of HMAC-SHA-256(index key, PAE(normalizer id,
//! normalizer version, normalized value, ...))`, with three parts for each column of the index. The
//! index key is expanded from the tenant's search key for one index and version of it, so equal
//! values in two columns, tenants or versions have nothing in common.

use eonpro_core::id::TenantId;
use eonpro_core::pae;
use eonpro_core::phi::{IndexDef, IndexSlots, IndexToken};
use eonpro_core::port::SealError;
use eonpro_core::secret::KeyBytes;

use crate::cobblestone::InputKey;
use crate::envelope::scope_bytes;
use crate::index_status::IndexStatus;
use crate::normalize::{MAX_INDEX_TEXT, Misfit, Normal, normalize};
use crate::schedule::MacSchedule;

/// The normalized value of each part; those beyond the index's parts are empty.
type Values<'a> = [Normal<'a>; IndexDef::MAX_PARTS];

/// The keys of the live versions of one index.
#[derive(Debug)]
pub(crate) struct LiveIndex {
    main: (u8, MacSchedule),
    added: Option<(u8, MacSchedule)>,
}

impl LiveIndex {
    pub(crate) fn derive(
        search: &InputKey,
        tenant: &Option<TenantId>,
        index: &IndexDef,
        status: IndexStatus,
    ) -> Result<Self, SealError> {
        check(index)?;
        let key = |version| index_key(search, tenant, index, version).map(|key| (version, key));
        let (main, added) = status.live();
        Ok(Self {
            main: key(main)?,
            added: added.map(key).transpose()?,
        })
    }

    /// The tokens of `texts`, one for each live version; empty if a text normalizes to nothing.
    pub(crate) fn slots(&self, index: &IndexDef, texts: &[&str]) -> Result<IndexSlots, SealError> {
        let mut slots = IndexSlots::default();
        let values = normalized(index, texts)?;
        let values = values.get(..texts.len()).unwrap_or(&values);
        if values.iter().any(|value| value.is_empty()) {
            return Ok(slots);
        }
        for (version, key) in std::iter::once(&self.main).chain(&self.added) {
            slots.put(token(key, *version, index, values)?);
        }
        Ok(slots)
    }
}

pub(crate) fn check(index: &IndexDef) -> Result<(), SealError> {
    let bits = (8..=256).contains(&index.bits) && index.bits.is_multiple_of(8);
    let parts = (1..=IndexDef::MAX_PARTS).contains(&index.parts.len());
    match bits && parts && index.version > 0 {
        true => Ok(()),
        false => Err(SealError::Unsupported),
    }
}

/// HKDF-Expand-SHA-512 of the search key over `PAE("eonpro/index/v1", scope, table, column, index
/// name, version)`, or, for a compound, over `PAE("eonpro/compound/v1", scope, table, index name,
/// version, column, ...)`.
fn index_key(
    search: &InputKey,
    tenant: &Option<TenantId>,
    index: &IndexDef,
    version: u8,
) -> Result<MacSchedule, SealError> {
    let (scope, table) = (scope_bytes(tenant), index.table.as_str().as_bytes());
    let (name, version) = (index.name.as_bytes(), [version]);
    let info = match index.column() {
        Some(column) => {
            let column = column.as_str().as_bytes();
            pae::encode(&[b"eonpro/index/v1", scope, table, column, name, &version])
        }
        None => {
            let label: &[u8] = b"eonpro/compound/v1";
            let mut parts = vec![label, scope, table, name, &version];
            parts.extend(
                index
                    .parts
                    .iter()
                    .map(|part| part.column.as_str().as_bytes()),
            );
            pae::encode(&parts)
        }
    };
    let key: KeyBytes<32> = search.derive(&[&info])?;
    Ok(MacSchedule::new(search.primitives(), key.expose()))
}

/// Each text by the rule of its part.
fn normalized<'a>(index: &IndexDef, texts: &[&'a str]) -> Result<Values<'a>, SealError> {
    let mut values = Values::default();
    if texts.len() != index.parts.len() || texts.len() > values.len() {
        return Err(SealError::Unsupported);
    }
    for ((part, text), value) in index.parts.iter().zip(texts).zip(&mut values) {
        if text.len() > MAX_INDEX_TEXT {
            return Err(SealError::LimitExceeded);
        }
        *value = normalize(part.normalizer, text).map_err(|why| match why {
            Misfit::Rule => SealError::Unsupported,
            Misfit::Text => SealError::Unindexable {
                table: index.table.as_str(),
                index: index.name,
            },
        })?;
    }
    Ok(values)
}

fn token(
    key: &MacSchedule,
    version: u8,
    index: &IndexDef,
    values: &[Normal<'_>],
) -> Result<IndexToken, SealError> {
    let mac = key.sign(|write| {
        write(&(3 * values.len() as u64).to_le_bytes());
        for (part, value) in index.parts.iter().zip(values) {
            let rule = part.normalizer;
            pae::visit_part(rule.id().as_bytes(), write);
            pae::visit_part(&[rule.version()], write);
            pae::visit_part(value.as_bytes(), write);
        }
    });
    let kept = mac
        .get(..usize::from(index.bits / 8))
        .ok_or(SealError::Unsupported)?;
    let mut token = Vec::with_capacity(1 + kept.len());
    token.push(version);
    token.extend_from_slice(kept);
    Ok(IndexToken::from_bytes(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_core::phi::{Column, IndexPart, Normalizer, Table};
    use eonpro_core::time::Timestamp;

    const fn part(column: &'static str, normalizer: Normalizer) -> IndexPart {
        IndexPart {
            column: Column::new(column),
            normalizer,
        }
    }

    const SSN: IndexDef = IndexDef {
        table: Table::new("patients"),
        name: "ssn",
        bits: 64,
        version: 1,
        parts: &[part("ssn", Normalizer::Digits)],
    };

    const NAME_BORN: IndexDef = IndexDef {
        name: "name_born",
        bits: 32,
        parts: &[
            part("name", Normalizer::Folded),
            part("born", Normalizer::Year),
        ],
        ..SSN
    };

    fn slots(
        tenant: u128,
        index: &IndexDef,
        status: IndexStatus,
        texts: &[&str],
    ) -> Result<IndexSlots, SealError> {
        let search = InputKey::new(&KeyBytes::take(&mut [3; 32]));
        let tenant = TenantId::from_uuid(uuid::Uuid::from_u128(tenant));
        LiveIndex::derive(&search, &tenant, index, status)?.slots(index, texts)
    }

    fn stable(version: u8) -> IndexStatus {
        IndexStatus::Stable { version }
    }

    fn token_of(tenant: u128, index: &IndexDef, texts: &[&str]) -> Result<IndexToken, SealError> {
        let slots = slots(tenant, index, stable(index.version), texts)?;
        assert_eq!(slots.tokens().count(), 1);
        Ok(slots.tokens().next().unwrap().clone())
    }

    #[test]
    fn equal_normalized_values_have_equal_tokens() {
        let token = token_of(1, &SSN, &["999-12-3456"]).unwrap();
        assert_eq!(token.as_bytes().len(), 9);
        assert_eq!(token.version(), Some(1));
        assert_eq!(token_of(1, &SSN, &["999 12 3456"]).unwrap(), token);
        assert_ne!(token_of(1, &SSN, &["999-12-3457"]).unwrap(), token);
    }

    #[test]
    fn the_same_value_elsewhere_has_another_token() {
        let token = token_of(1, &SSN, &["999123456"]).unwrap();
        let mut others = vec![token_of(2, &SSN, &["999123456"]).unwrap()];
        for change in [
            (|index| index.table = Table::new("visits")) as fn(&mut IndexDef),
            |index| index.parts = const { &[part("mrn", Normalizer::Digits)] },
            |index| index.name = "other",
            |index| index.version = 2,
            |index| index.parts = const { &[part("ssn", Normalizer::Exact)] },
            |index| index.parts = const { &[part("ssn", Normalizer::Last { count: 9 })] },
            |index| index.parts = const { &[part("ssn", Normalizer::Last { count: 10 })] },
        ] {
            let mut index = SSN;
            change(&mut index);
            others.push(token_of(1, &index, &["999123456"]).unwrap());
        }
        others.push(token);
        let tails: std::collections::HashSet<_> = others
            .iter()
            .map(|token| token.as_bytes().get(1..))
            .collect();
        assert_eq!(tails.len(), others.len());
    }

    #[test]
    fn a_compound_token_depends_on_each_value_and_on_the_columns_in_their_order() {
        let token = token_of(1, &NAME_BORN, &["Lovelace", "1815-12-10"]).unwrap();
        assert_eq!(token.as_bytes().len(), 5);
        assert_eq!(
            token_of(1, &NAME_BORN, &[" LOVELACE", "1815"]).unwrap(),
            token
        );
        const SWAPPED: &[IndexPart] = &[
            part("born", Normalizer::Year),
            part("name", Normalizer::Folded),
        ];
        const TWINS: &[IndexPart] = &[
            part("first", Normalizer::Folded),
            part("last", Normalizer::Folded),
        ];
        const TWINS_SWAPPED: &[IndexPart] = &[
            part("last", Normalizer::Folded),
            part("first", Normalizer::Folded),
        ];
        let of = |parts, texts: [&str; 2]| {
            let index = IndexDef { parts, ..NAME_BORN };
            token_of(1, &index, &texts).unwrap()
        };
        let others = [
            token_of(1, &NAME_BORN, &["Lovelace", "1816"]).unwrap(),
            token_of(1, &NAME_BORN, &["Byron", "1815"]).unwrap(),
            of(SWAPPED, ["1815", "Lovelace"]),
            of(TWINS, ["ada", "king"]),
            of(TWINS, ["adak", "ing"]),
            of(TWINS_SWAPPED, ["ada", "king"]),
            token,
        ];
        let distinct: std::collections::HashSet<_> = others.iter().collect();
        assert_eq!(distinct.len(), others.len());
    }

    #[test]
    fn while_a_version_is_added_both_are_written_each_in_its_slot() {
        let settled_at = Timestamp::EPOCH;
        let (old, new) = (2, 3);
        let adding = IndexStatus::Adding {
            old,
            new,
            settled_at,
        };
        let both = slots(1, &SSN, adding, &["9"]).unwrap();
        let two = slots(1, &SSN, stable(2), &["9"]).unwrap();
        let three = slots(1, &SSN, stable(3), &["9"]).unwrap();
        assert_eq!((&both.even, &both.odd), (&two.even, &three.odd));
        assert!(two.odd.is_none() && two.even.is_some());
        let dropping = IndexStatus::Dropping {
            old,
            new,
            settled_at,
        };
        assert_eq!(slots(1, &SSN, dropping, &["9"]).unwrap(), three);
    }

    #[test]
    fn what_normalizes_to_nothing_has_no_token() {
        for (index, texts) in [
            (SSN, &["unknown"][..]),
            (SSN, &[""]),
            (NAME_BORN, &["", "1815"]),
            (NAME_BORN, &["Lovelace", " "]),
        ] {
            let slots = slots(1, &index, stable(1), texts).unwrap();
            assert!(slots.is_empty(), "{texts:?}");
        }
    }

    #[test]
    fn a_text_that_does_not_fit_its_rule_is_refused_by_the_name_of_its_index() {
        let refused = token_of(1, &NAME_BORN, &["Lovelace", "long ago"]);
        let Err(SealError::Unindexable { table, index }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((table, index), ("patients", "name_born"));
    }

    #[test]
    fn impossible_indexes_and_endless_texts_are_refused() {
        let impossible = [0, 7, 12, 264].map(|bits| IndexDef { bits, ..SSN });
        let no_parts = IndexDef { parts: &[], ..SSN };
        let no_rule = IndexDef {
            parts: const { &[part("ssn", Normalizer::Last { count: 0 })] },
            ..SSN
        };
        let version = IndexDef { version: 0, ..SSN };
        for index in impossible.iter().chain([&no_rule, &version]) {
            let refused = token_of(1, index, &["1"]);
            assert!(matches!(refused, Err(SealError::Unsupported)), "{index:?}");
        }
        for (index, texts) in [(&no_parts, &[][..]), (&SSN, &[]), (&SSN, &["1", "2"])] {
            let refused = token_of(1, index, texts);
            assert!(matches!(refused, Err(SealError::Unsupported)), "{texts:?}");
        }
        let endless = "1".repeat(MAX_INDEX_TEXT + 1);
        let refused = token_of(1, &SSN, &[&endless]);
        assert!(matches!(refused, Err(SealError::LimitExceeded)));
    }
}
