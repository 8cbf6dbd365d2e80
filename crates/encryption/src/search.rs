//! Blind indexes: equality search over randomized ciphertext.
//!
//! A token is `version || first bits / 8 bytes of HMAC-SHA-256(index key, PAE(normalizer id,
//! normalizer version, normalized value))`. The index key is expanded from the tenant's search key
//! for one index and version of it, so equal values in two columns or tenants have nothing in
//! common.

use eonpro_core::id::TenantId;
use eonpro_core::pae;
use eonpro_core::phi::{IndexDef, IndexToken};
use eonpro_core::port::SealError;
use eonpro_core::secret::KeyBytes;

use crate::cobblestone::InputKey;
use crate::envelope::scope_bytes;
use crate::normalize::{MAX_INDEX_TEXT, normalize};
use crate::schedule::MacSchedule;

/// The key of one index: HKDF-Expand-SHA-512 of the search key over
/// `PAE("eonpro/index/v1", tenant, table, column, index name, version)`.
pub(crate) fn index_key(
    search: &InputKey,
    tenant: &Option<TenantId>,
    index: &IndexDef,
) -> Result<MacSchedule, SealError> {
    if !(8..=256).contains(&index.bits) || !index.bits.is_multiple_of(8) {
        return Err(SealError::Unsupported);
    }
    let info = pae::encode(&[
        b"eonpro/index/v1",
        scope_bytes(tenant),
        index.table.as_str().as_bytes(),
        index.column.as_str().as_bytes(),
        index.name.as_bytes(),
        &[index.version],
    ]);
    let key: KeyBytes<32> = search.derive(&[&info])?;
    Ok(MacSchedule::new(search.primitives(), key.expose()))
}

/// The token of `text`.
pub(crate) fn token(
    key: &MacSchedule,
    index: &IndexDef,
    text: &str,
) -> Result<IndexToken, SealError> {
    if text.len() > MAX_INDEX_TEXT {
        return Err(SealError::LimitExceeded);
    }
    let value = normalize(index.normalizer, text).ok_or(SealError::Unsupported)?;
    let parts = [
        index.normalizer.id().as_bytes(),
        &[index.normalizer.version()],
        value.as_bytes(),
    ];
    let mac = key.sign(|write| pae::visit(&parts, write));
    let kept = mac
        .get(..usize::from(index.bits / 8))
        .ok_or(SealError::Unsupported)?;
    let mut token = Vec::with_capacity(1 + kept.len());
    token.push(index.version);
    token.extend_from_slice(kept);
    Ok(IndexToken::from_bytes(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eonpro_core::phi::{Column, Normalizer, Table};

    const SSN: IndexDef = IndexDef {
        table: Table::new("patients"),
        column: Column::new("ssn"),
        name: "ssn",
        bits: 64,
        normalizer: Normalizer::Digits,
        version: 1,
    };

    fn token_of(tenant: u128, index: &IndexDef, text: &str) -> Result<IndexToken, SealError> {
        let search = InputKey::new(&KeyBytes::take(&mut [3; 32]));
        let tenant = TenantId::from_uuid(uuid::Uuid::from_u128(tenant));
        token(&index_key(&search, &tenant, index)?, index, text)
    }

    #[test]
    fn equal_normalized_values_have_equal_tokens() {
        let token = token_of(1, &SSN, "999-12-3456").unwrap();
        assert_eq!(token.as_bytes().len(), 9);
        assert_eq!(token.as_bytes().first(), Some(&1));
        assert_eq!(token_of(1, &SSN, "999 12 3456").unwrap(), token);
        assert_ne!(token_of(1, &SSN, "999-12-3457").unwrap(), token);
    }

    #[test]
    fn the_same_value_elsewhere_has_another_token() {
        let token = token_of(1, &SSN, "999123456").unwrap();
        let mut others = vec![token_of(2, &SSN, "999123456").unwrap()];
        for change in [
            (|index| index.table = Table::new("visits")) as fn(&mut IndexDef),
            |index| index.column = Column::new("mrn"),
            |index| index.name = "other",
            |index| index.version = 2,
            |index| index.normalizer = Normalizer::Exact,
        ] {
            let mut index = SSN;
            change(&mut index);
            others.push(token_of(1, &index, "999123456").unwrap());
        }
        for other in others {
            assert_ne!(other.as_bytes().get(1..), token.as_bytes().get(1..));
        }
    }

    #[test]
    fn impossible_indexes_and_endless_texts_are_refused() {
        for bits in [0, 7, 12, 264] {
            let index = IndexDef { bits, ..SSN };
            let refused = token_of(1, &index, "1");
            assert!(matches!(refused, Err(SealError::Unsupported)), "{bits}");
        }
        let endless = "1".repeat(MAX_INDEX_TEXT + 1);
        assert!(matches!(
            token_of(1, &SSN, &endless),
            Err(SealError::LimitExceeded)
        ));
    }
}
