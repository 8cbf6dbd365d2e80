//! A value that is PHI: it cannot be printed, logged or serialized, and is wiped on drop.

use std::fmt::{self, Write as _};
use std::ops::Deref;

use zeroize::{Zeroize, Zeroizing};

use crate::error::{Classify, ErrorKind};
use crate::secret::SecretBytes;

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
    fn write(&self, out: &mut SecretBytes);

    /// Reads the byte form.
    ///
    /// # Errors
    /// [`PhiValueError`] if `bytes` is not one.
    fn read(bytes: &[u8]) -> Result<Self, PhiValueError>;

    /// The text that search indexes normalize; `None` if the type is not searchable.
    fn search_text(&self) -> Option<SearchText<'_>>;
}

/// The text of a value that search indexes normalize: the value's own, or one that was written for
/// it, which is wiped on drop. `Debug` tells nothing.
pub struct SearchText<'a>(Text<'a>);

enum Text<'a> {
    Own(&'a str),
    Written(Zeroizing<String>),
}

impl SearchText<'static> {
    /// The decimal digits of `number`, with `-` before those of a negative one.
    #[must_use]
    pub fn of_number(number: i64) -> Self {
        // The longest is that of `i64::MIN`; reserved once, so that growing leaves no copies.
        let mut text = Zeroizing::new(String::with_capacity(20));
        let _infallible = write!(text, "{number}");
        Self(Text::Written(text))
    }

    /// A text that was written for this purpose.
    #[must_use]
    pub fn written(text: Zeroizing<String>) -> Self {
        Self(Text::Written(text))
    }
}

impl<'a> From<&'a str> for SearchText<'a> {
    fn from(text: &'a str) -> Self {
        Self(Text::Own(text))
    }
}

impl Deref for SearchText<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match &self.0 {
            Text::Own(text) => text,
            Text::Written(text) => text,
        }
    }
}

impl fmt::Debug for SearchText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[PHI]")
    }
}

impl PhiValue for String {
    fn write(&self, out: &mut SecretBytes) {
        out.extend_from_slice(self.as_bytes());
    }

    fn read(bytes: &[u8]) -> Result<Self, PhiValueError> {
        std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| PhiValueError)
    }

    fn search_text(&self) -> Option<SearchText<'_>> {
        Some(SearchText::from(self.as_str()))
    }
}

impl PhiValue for Vec<u8> {
    fn write(&self, out: &mut SecretBytes) {
        out.extend_from_slice(self);
    }

    fn read(bytes: &[u8]) -> Result<Self, PhiValueError> {
        Ok(bytes.to_vec())
    }

    fn search_text(&self) -> Option<SearchText<'_>> {
        None
    }
}

/// Eight bytes, big endian. Its search text is decimal.
impl PhiValue for i64 {
    fn write(&self, out: &mut SecretBytes) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Result<Self, PhiValueError> {
        bytes
            .try_into()
            .map(Self::from_be_bytes)
            .map_err(|_| PhiValueError)
    }

    fn search_text(&self) -> Option<SearchText<'_>> {
        Some(SearchText::of_number(*self))
    }
}

/// One byte, 0 or 1. Its search text is `true` or `false`: a column of two values keeps no secret from
/// who sees its tokens.
impl PhiValue for bool {
    fn write(&self, out: &mut SecretBytes) {
        out.push(u8::from(*self));
    }

    fn read(bytes: &[u8]) -> Result<Self, PhiValueError> {
        match bytes {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(PhiValueError),
        }
    }

    fn search_text(&self) -> Option<SearchText<'_>> {
        Some(SearchText::from(if *self { "true" } else { "false" }))
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
    fn numbers_and_flags_have_a_search_text_and_bytes_have_none() {
        for number in [0, -7, i64::MAX, i64::MIN] {
            let text = number.search_text().unwrap();
            assert_eq!(&*text, number.to_string());
            assert_eq!(format!("{text:?}"), "[PHI]");
        }
        assert_eq!(&*true.search_text().unwrap(), "true");
        assert_eq!(&*"a".to_owned().search_text().unwrap(), "a");
        assert!(vec![1_u8].search_text().is_none());
    }

    #[test]
    fn every_value_survives_its_byte_form_and_refuses_others() {
        fn round<T: PhiValue>(value: &T) -> Result<T, PhiValueError> {
            let mut bytes = SecretBytes::default();
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
