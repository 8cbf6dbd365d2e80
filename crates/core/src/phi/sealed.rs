//! The sealed form of a value: typed ciphertext.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The ciphertext of a `T`. Opens only for the tenant and the cell it was sealed for.
///
/// Serializes as unpadded base64url text in human-readable formats and as bytes in others.
pub struct Sealed<T> {
    bytes: Vec<u8>,
    of: PhantomData<fn() -> T>,
}

impl<T> Sealed<T> {
    /// Declares that `bytes` is the ciphertext of a `T`. Opening decides whether that is true.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            of: PhantomData,
        }
    }

    /// The ciphertext.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The ciphertext, taken out.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl<T> Clone for Sealed<T> {
    fn clone(&self) -> Self {
        Self::from_bytes(self.bytes.clone())
    }
}

impl<T> PartialEq for Sealed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Eq for Sealed<T> {}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.bytes.len())
    }
}

impl<T> Serialize for Sealed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&URL_SAFE_NO_PAD.encode(&self.bytes))
        } else {
            serializer.serialize_bytes(&self.bytes)
        }
    }
}

impl<'de, T> Deserialize<'de> for Sealed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let human = deserializer.is_human_readable();
        let bytes = if human {
            let text = String::deserialize(deserializer)?;
            URL_SAFE_NO_PAD
                .decode(text)
                .map_err(serde::de::Error::custom)?
        } else {
            Vec::<u8>::deserialize(deserializer)?
        };
        Ok(Self::from_bytes(bytes))
    }
}

/// The head of a record that was sealed as a whole: what all its fields are opened with.
pub type RecordHead = Sealed<WholeRecord>;

/// Stands for a record in the type of its head; has no values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WholeRecord {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_travels_as_base64url_text() {
        let sealed = Sealed::<String>::from_bytes(vec![0xfb, 0xff, 1]);
        let text = serde_json::to_string(&sealed).unwrap();
        assert_eq!(text, "\"-_8B\"");
        assert_eq!(
            serde_json::from_str::<Sealed<String>>(&text).unwrap(),
            sealed
        );
    }
}
