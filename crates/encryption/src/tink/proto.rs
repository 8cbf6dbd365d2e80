//! The keys as protocol buffers: Tink's `xaes_gcm.proto` and `aes_siv.proto`, and a message of ours.

use std::fmt;

use eonpro_core::phi::Suite;
use eonpro_core::secret::SecretBytes;
use prost::Message;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use crate::error::CryptoError;
use crate::material::KeyMaterial;

/// XAES-256-GCM.
pub(super) const XAES_GCM: &str = "type.googleapis.com/google.crypto.tink.XAesGcmKey";
/// AES-SIV.
pub(super) const AES_SIV: &str = "type.googleapis.com/google.crypto.tink.AesSivKey";
/// Cobblestone-256, for which Tink has no type: ours.
pub(super) const COBBLESTONE: &str = "type.googleapis.com/eonpro.Cobblestone256Key";

/// Tink counts the nonce's first half as salt. It allows 8 to 12 bytes; 12 is a nonce of 192 bits.
const XAES_SALT: u32 = 12;
/// The only version of all three.
const VERSION: u32 = 0;
/// More than any of the three takes.
const MAX_LEN: usize = 128;

#[derive(Clone, PartialEq, Message)]
struct XAesGcmParams {
    #[prost(uint32, tag = "1")]
    salt_size: u32,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct XAesGcmKey {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(message, optional, tag = "2")]
    params: Option<XAesGcmParams>,
    #[prost(bytes = "vec", tag = "3")]
    key_value: Vec<u8>,
}

/// `AesSivKey`, and the message of ours: they have the same fields.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct PlainKey {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "vec", tag = "2")]
    key_value: Vec<u8>,
}

macro_rules! secret {
    ($($name:ident),*) => {$(
        impl Drop for $name {
            fn drop(&mut self) {
                self.key_value.zeroize();
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[SECRET]")
            }
        }
    )*};
}

secret!(XAesGcmKey, PlainKey);

/// The message of a key.
pub(super) fn encode(suite: Suite, key: &KeyMaterial) -> SecretBytes {
    let key_value = key.expose().to_vec();
    let version = VERSION;
    SecretBytes::new(match suite {
        Suite::Compact => {
            let params = Some(XAesGcmParams {
                salt_size: XAES_SALT,
            });
            let key = XAesGcmKey {
                version,
                params,
                key_value,
            };
            key.encode_to_vec()
        }
        Suite::Standard | Suite::Deterministic => PlainKey { version, key_value }.encode_to_vec(),
    })
}

/// Reads a key of that suite. Takes only what [`encode`] writes: no unknown field, no field twice,
/// so that no two readers disagree about a key.
pub(super) fn decode(suite: Suite, message: &[u8]) -> Result<KeyMaterial, CryptoError> {
    if message.len() > MAX_LEN {
        return Err(CryptoError::Tink("key is too long"));
    }
    let malformed = |_| CryptoError::Tink("key is no message of its type");
    let key = match suite {
        Suite::Compact => {
            let key = XAesGcmKey::decode(message).map_err(malformed)?;
            if key.params.as_ref().map(|params| params.salt_size) != Some(XAES_SALT) {
                return Err(CryptoError::Tink("nonce is not of 192 bits"));
            }
            checked(suite, key.version, &key.key_value)?
        }
        Suite::Standard | Suite::Deterministic => {
            let key = PlainKey::decode(message).map_err(malformed)?;
            checked(suite, key.version, &key.key_value)?
        }
    };
    if !bool::from(encode(suite, &key).as_slice().ct_eq(message)) {
        return Err(CryptoError::Tink("key has unknown parts"));
    }
    Ok(key)
}

fn checked(suite: Suite, version: u32, key: &[u8]) -> Result<KeyMaterial, CryptoError> {
    if version != VERSION {
        return Err(CryptoError::Tink("unknown version of the key type"));
    }
    KeyMaterial::copy_from(suite, key).ok_or(CryptoError::Tink("key of another length"))
}
