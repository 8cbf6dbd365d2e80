//! What the leaf says of a sealed field without telling it: a salted hash, whose salt is sealed with the
//! value.
//!
//! Sealing alone does not bind: with keys of their choice somebody can make one ciphertext that opens to
//! two texts. Whoever is shown salt and value can check that this is what was logged, and once the key is
//! shredded the salt is gone, so that not even a yes or no can be guessed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::event::Digest;
use eonpro_core::secret::{KeyBytes, SecretBytes};
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};
use subtle::ConstantTimeEq as _;

use crate::error::AuditError;

/// Neither a leaf (0) nor a node (1) of a tree.
const DOMAIN: u8 = 2;
/// The version of what is sealed.
const VERSION: u8 = 1;
pub(crate) const SALT_BYTES: usize = 32;

/// `SHA-256(0x02 || salt || LE64(length of path) || path || value)`; `path` is the field's name.
pub(crate) fn commitment(salt: &[u8; SALT_BYTES], path: &str, value: &[u8]) -> Digest {
    let mut hash = Context::new(&SHA256);
    hash.update(&[DOMAIN]);
    hash.update(salt);
    hash.update(&(path.len() as u64).to_le_bytes());
    hash.update(path.as_bytes());
    hash.update(value);
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(hash.finish().as_ref()) {
        *to = *from;
    }
    Digest::from_bytes(out)
}

/// As the leaf writes it.
pub(crate) fn written(commitment: &Digest) -> String {
    URL_SAFE_NO_PAD.encode(commitment.as_bytes())
}

/// A value with the salt of its commitment.
#[derive(Debug)]
pub(crate) struct Salted {
    pub(crate) salt: KeyBytes<SALT_BYTES>,
    pub(crate) value: SecretBytes,
}

impl Salted {
    /// `value` with a fresh salt.
    pub(crate) fn new(value: &str) -> Result<Self, AuditError> {
        let mut salt = [0; SALT_BYTES];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| AuditError::NoRandomness)?;
        Ok(Self {
            salt: KeyBytes::take(&mut salt),
            value: SecretBytes::new(value.as_bytes().to_vec()),
        })
    }

    /// What is sealed: version, salt, value.
    pub(crate) fn plaintext(&self) -> SecretBytes {
        let mut out = SecretBytes::with_capacity(1 + SALT_BYTES + self.value.len());
        out.push(VERSION);
        out.extend_from_slice(self.salt.expose());
        out.extend_from_slice(&self.value);
        out
    }

    /// Takes apart what was sealed.
    pub(crate) fn parse(plaintext: &[u8]) -> Option<Self> {
        let rest = plaintext.strip_prefix(&[VERSION])?;
        let (salt, value) = rest.split_at_checked(SALT_BYTES)?;
        Some(Self {
            salt: KeyBytes::copy_from(salt)?,
            value: SecretBytes::new(value.to_vec()),
        })
    }

    pub(crate) fn commitment(&self, path: &str) -> Digest {
        commitment(self.salt.expose(), path, &self.value)
    }

    /// Whether this is what a leaf commits to with `written`.
    pub(crate) fn fits(&self, path: &str, written: &str) -> bool {
        let ours = self::written(&self.commitment(path));
        ours.as_bytes().ct_eq(written.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(serde::Deserialize)]
    struct Vectors {
        tests: Vec<Vector>,
    }

    #[derive(serde::Deserialize)]
    struct Vector {
        comment: String,
        salt: String,
        path: String,
        value: String,
        plaintext: String,
        commit: String,
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        let pairs = digits.map(|pair| std::str::from_utf8(pair).unwrap());
        pairs
            .map(|pair| u8::from_str_radix(pair, 16).unwrap())
            .collect()
    }

    #[test]
    fn the_published_vectors_are_what_we_compute() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/formats/vectors/audit-commitments.json"
        );
        let vectors: Vectors = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert!(vectors.tests.len() >= 6);
        for test in vectors.tests {
            let salted = Salted {
                salt: KeyBytes::copy_from(&bytes(&test.salt)).unwrap(),
                value: SecretBytes::new(test.value.clone().into_bytes()),
            };
            let about = test.comment;
            assert_eq!(**salted.plaintext(), *bytes(&test.plaintext), "{about}");
            let commit = written(&salted.commitment(&test.path));
            assert_eq!(commit, test.commit, "{about}");
            let read = Salted::parse(&bytes(&test.plaintext)).unwrap();
            assert_eq!((&read.salt, &read.value), (&salted.salt, &salted.value));
        }
    }

    #[test]
    fn what_is_too_short_or_of_another_version_is_nothing() {
        let whole = Salted::new("").unwrap().plaintext();
        assert_eq!(whole.len(), 33);
        assert!(Salted::parse(&whole).is_some());
        assert!(Salted::parse(&whole[..32]).is_none());
        let mut other = whole.to_vec();
        other[0] = 2;
        assert!(Salted::parse(&other).is_none());
    }

    #[test]
    fn one_value_is_never_committed_to_twice_alike() {
        let (one, two) = (Salted::new("yes").unwrap(), Salted::new("yes").unwrap());
        assert_ne!(one.commitment("f"), two.commitment("f"));
    }

    proptest! {
        #[test]
        fn only_the_same_salt_path_and_value_hash_alike(
            left in ("[ab]{0,3}", "[ab]{0,3}", 0..2_u8),
            right in ("[ab]{0,3}", "[ab]{0,3}", 0..2_u8),
        ) {
            let hash = |(path, value, salt): &(String, String, u8)| {
                commitment(&[*salt; SALT_BYTES], path, value.as_bytes())
            };
            prop_assert_eq!(left == right, hash(&left) == hash(&right));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let whole = bytes.len() > SALT_BYTES && bytes[0] == VERSION;
            prop_assert_eq!(Salted::parse(&bytes).is_some(), whole);
        }

        #[test]
        fn a_value_reads_back_and_fits_its_own_name_only(value in ".{0,40}", name in "[a-z_]{1,8}") {
            let salted = Salted::new(&value).unwrap();
            let commit = written(&salted.commitment(&name));
            let read = Salted::parse(&salted.plaintext()).unwrap();
            prop_assert!(read.fits(&name, &commit));
            let other = name.clone() + "x";
            prop_assert!(!read.fits(&other, &commit));
            prop_assert_eq!(&**read.value, value.as_bytes());
        }
    }
}
