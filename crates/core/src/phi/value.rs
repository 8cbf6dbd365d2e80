//! A value that is PHI: it cannot be printed, logged or serialized, and is wiped on drop.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::error::{Classify, ErrorKind};

/// A value that identifies a patient or tells about one.
///
/// `Debug` prints `[PHI]`. There is no `Display`, no `Serialize`, no `PartialEq` and no `Deref`:
/// every look at the value is a visible call of [`Phi::expose`].
pub struct Phi<T: Zeroize>(T);

impl<T: Zeroize> Phi<T> {
    /// Takes over `value`.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one expression that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Phi<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize + Clone> Clone for Phi<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Zeroize> From<T> for Phi<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl From<&str> for Phi<String> {
    fn from(value: &str) -> Self {
        Self::new(value.to_owned())
    }
}

impl<T: Zeroize> fmt::Debug for Phi<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[PHI]")
    }
}

/// The stored bytes are not a value of this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("opened bytes are not a value of the declared type")]
pub struct PhiValueError;

impl Classify for PhiValueError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Integrity
    }
}

/// A type that can be sealed: it has one byte form, fixed for ever.
pub trait PhiValue: Zeroize + Sized {
    /// Appends the byte form.
    fn write(&self, out: &mut Zeroizing<Vec<u8>>);

    /// Reads the byte form.
    ///
    /// # Errors
    /// [`PhiValueError`] if `bytes` is not one.
    fn read(bytes: &[u8]) -> Result<Self, PhiValueError>;

    /// The text that search indexes normalize; `None` if the type is not searchable.
    fn search_text(&self) -> Option<&str>;
}

impl PhiValue for String {
    fn write(&self, out: &mut Zeroizing<Vec<u8>>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn read(bytes: &[u8]) -> Result<Self, PhiValueError> {
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| PhiValueError)
    }

    fn search_text(&self) -> Option<&str> {
        Some(self)
    }
}

impl PhiValue for Vec<u8> {
    fn write(&self, out: &mut Zeroizing<Vec<u8>>) {
        out.extend_from_slice(self);
    }

    fn read(bytes: &[u8]) -> Result<Self, PhiValueError> {
        Ok(bytes.to_vec())
    }

    fn search_text(&self) -> Option<&str> {
        None
    }
}

/// Eight bytes, big endian.
impl PhiValue for i64 {
    fn write(&self, out: &mut Zeroizing<Vec<u8>>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Result<Self, PhiValueError> {
        bytes
            .try_into()
            .map(Self::from_be_bytes)
            .map_err(|_| PhiValueError)
    }

    fn search_text(&self) -> Option<&str> {
        None
    }
}

/// One byte, 0 or 1.
impl PhiValue for bool {
    fn write(&self, out: &mut Zeroizing<Vec<u8>>) {
        out.push(u8::from(*self));
    }

    fn read(bytes: &[u8]) -> Result<Self, PhiValueError> {
        match bytes {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(PhiValueError),
        }
    }

    fn search_text(&self) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_nothing() {
        assert_eq!(format!("{:?}", Phi::from("Ada Lovelace")), "[PHI]");
        assert_eq!(
            format!("{:#?}", Some(Phi::new(7_i64))),
            "Some(\n    [PHI],\n)"
        );
    }

    #[test]
    fn every_value_survives_its_byte_form_and_refuses_others() {
        fn round<T: PhiValue>(value: &T) -> Result<T, PhiValueError> {
            let mut bytes = Zeroizing::new(Vec::new());
            value.write(&mut bytes);
            T::read(&bytes)
        }
        assert_eq!(round(&"é".to_owned()), Ok("é".to_owned()));
        assert_eq!(round(&-5_i64), Ok(-5));
        assert_eq!(round(&true), Ok(true));
        assert_eq!(round(&vec![0_u8, 255]), Ok(vec![0, 255]));
        assert_eq!(String::read(&[0xff]), Err(PhiValueError));
        assert_eq!(i64::read(&[1, 2]), Err(PhiValueError));
        assert_eq!(bool::read(&[2]), Err(PhiValueError));
    }
}
