//! Strict JSON: an object at the root, no name twice, bounded in depth and in size.
//!
//! Two readers that disagree about a duplicate name disagree about the tenant it names, so a
//! duplicate anywhere is refused. The grammar itself is serde_json's.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// How deep arrays and objects may nest, the root included.
pub(crate) const MAX_DEPTH: u8 = 8;

/// A JSON value whose objects have unique names.
#[derive(Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number within 64 bits.
    Integer(i64),
    /// Any other number; finite.
    Real(f64),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object.
    Object(BTreeMap<String, Json>),
}

/// The text is not JSON as this crate accepts it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Longer than the limit for this document.
    #[error("json text is too long")]
    TooLong,
    /// Not JSON, a name twice, nested too deep, or no object at the root.
    #[error("json text is malformed")]
    Malformed,
}

impl Json {
    /// Parses an object of at most `limit` bytes.
    ///
    /// # Errors
    /// [`JsonError`], without saying where: the text may be hostile and must not be echoed.
    pub fn parse_object(bytes: &[u8], limit: usize) -> Result<BTreeMap<String, Self>, JsonError> {
        if bytes.len() > limit {
            return Err(JsonError::TooLong);
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Level(MAX_DEPTH)
            .deserialize(&mut reader)
            .map_err(|_| JsonError::Malformed)?;
        reader.end().map_err(|_| JsonError::Malformed)?;
        match value {
            Self::Object(members) => Ok(members),
            _ => Err(JsonError::Malformed),
        }
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The strings, if it is an array of nothing but strings.
    #[must_use]
    pub fn as_texts(&self) -> Option<Vec<&str>> {
        self.as_array()?.iter().map(Self::as_text).collect()
    }
}

/// The value may hold a claim about a person, so it prints its kind alone.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool(_) => "[bool]",
            Self::Integer(_) | Self::Real(_) => "[number]",
            Self::Text(_) => "[text]",
            Self::Array(_) => "[array]",
            Self::Object(_) => "[object]",
        })
    }
}

/// How many levels may still open below here.
#[derive(Clone, Copy)]
struct Level(u8);

impl Level {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        self.0
            .checked_sub(1)
            .map(Self)
            .ok_or_else(|| E::custom("too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("json")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Json, E> {
        i64::try_from(value)
            .map(Json::Integer)
            .map_err(|_| E::custom("number out of range"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Real(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            out.push(item);
        }
        Ok(Json::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut out = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(below)?;
            if out.insert(name, value).is_some() {
                return Err(A::Error::custom("name twice"));
            }
        }
        Ok(Json::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BTreeMap<String, Json>, JsonError> {
        Json::parse_object(text.as_bytes(), 1024)
    }

    #[test]
    fn a_name_twice_is_refused_at_any_depth_and_however_it_is_spelt() {
        assert!(parse(r#"{"a":1,"b":{"a":1}}"#).is_ok());
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":2}}"#,
            r#"{"x":[{"a":1,"a":2}]}"#,
        ] {
            assert_eq!(parse(text), Err(JsonError::Malformed), "{text}");
        }
    }

    #[test]
    fn only_one_whole_object_is_accepted() {
        for text in [
            "",
            "[]",
            "1",
            "null",
            r#""a""#,
            "{",
            "{}{}",
            "{} x",
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            "{'a':1}",
            r#"{"a":NaN}"#,
            r#"{"a":1e999}"#,
            r#"{"a":18446744073709551615}"#,
        ] {
            assert_eq!(parse(text), Err(JsonError::Malformed), "{text}");
        }
        assert_eq!(
            Json::parse_object(b"{\"a\":\"\xff\"}", 100),
            Err(JsonError::Malformed)
        );
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(parse(&nested(8)).is_ok());
        assert_eq!(parse(&nested(9)), Err(JsonError::Malformed));
        assert_eq!(parse(&nested(100_000)), Err(JsonError::TooLong));
        let text = nested(100_000);
        assert_eq!(
            Json::parse_object(text.as_bytes(), usize::MAX),
            Err(JsonError::Malformed)
        );
    }

    #[test]
    fn a_value_prints_nothing_of_itself() {
        let members = parse(r#"{"name":"Jane Roe"}"#).unwrap();
        assert!(!format!("{:?}", members.get("name")).contains("Jane"));
    }
}
