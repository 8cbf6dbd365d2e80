//! A keyset as the JSON that Tink's libraries write and read.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eonpro_core::phi::Suite;
use eonpro_core::port::SealError;
use eonpro_core::secret::SecretText;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{MAX_TINK_KEYSET, TinkKey, proto, type_url};
use crate::error::CryptoError;
use crate::keyset::{KeyId, MAX_KEYS};
use crate::material::KeyMaterial;
use crate::state::KeyState;

/// More than the JSON of one key takes.
const KEY_LEN: usize = 400;
/// The longest name of a type that an error repeats.
const MAX_NAME: usize = 64;

const ENABLED: &str = "ENABLED";
const DISABLED: &str = "DISABLED";
const DESTROYED: &str = "DESTROYED";
const SYMMETRIC: &str = "SYMMETRIC";
const TINK: &str = "TINK";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireKeyset {
    primary_key_id: u32,
    key: Vec<WireKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireKey {
    /// Tink leaves it out of a destroyed key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_data: Option<WireKeyData>,
    status: String,
    key_id: u32,
    output_prefix_type: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireKeyData {
    type_url: String,
    value: String,
    key_material_type: String,
}

impl Drop for WireKeyData {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

/// The keyset of `keys`, of which exactly one is primary.
pub(crate) fn write(suite: Suite, keys: &[TinkKey]) -> Result<SecretText, CryptoError> {
    let primary = keys.iter().find(|key| key.state == KeyState::Primary);
    let primary = primary.ok_or(SealError::UnknownKey)?;
    let wire = WireKeyset {
        primary_key_id: number(primary.id),
        key: keys.iter().map(|key| to_wire(suite, key)).collect(),
    };
    // Reserved once, so that growing leaves no copies behind.
    let room = KEY_LEN.saturating_mul(keys.len().saturating_add(1));
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *text, &wire).map_err(|_| CryptoError::Tink("not JSON"))?;
    let text = String::from_utf8(std::mem::take(&mut *text));
    Ok(SecretText::new(
        text.map_err(|_| CryptoError::Tink("not JSON"))?,
    ))
}

fn to_wire(suite: Suite, key: &TinkKey) -> WireKey {
    let key_data = key.material.as_ref().map(|key| WireKeyData {
        type_url: type_url(suite).to_owned(),
        value: BASE64.encode(&*proto::encode(suite, key)),
        key_material_type: SYMMETRIC.to_owned(),
    });
    let status = match key.state {
        KeyState::Primary | KeyState::DecryptOnly | KeyState::Drained => ENABLED,
        // Not for everybody to open with.
        KeyState::Suspended | KeyState::Compromised => DISABLED,
        KeyState::Destroyed => DESTROYED,
    };
    WireKey {
        key_data,
        status: status.to_owned(),
        key_id: number(key.id),
        output_prefix_type: TINK.to_owned(),
    }
}

/// Reads a keyset of that suite: at least one key, the primary among them, no id twice.
pub(crate) fn read(suite: Suite, text: &SecretText) -> Result<Vec<TinkKey>, CryptoError> {
    let text = text.expose();
    if text.len() > MAX_TINK_KEYSET {
        return Err(SealError::LimitExceeded.into());
    }
    let wire: WireKeyset =
        serde_json::from_str(text).map_err(|_| CryptoError::Tink("no keyset in JSON"))?;
    if wire.key.len() > MAX_KEYS {
        return Err(SealError::LimitExceeded.into());
    }
    let mut seen = HashSet::new();
    let mut keys = Vec::with_capacity(wire.key.len());
    for key in &wire.key {
        let key = from_wire(suite, key, wire.primary_key_id)?;
        if !seen.insert(key.id) {
            return Err(CryptoError::Tink("one key id twice"));
        }
        keys.push(key);
    }
    if !keys.iter().any(|key| key.state == KeyState::Primary) {
        return Err(CryptoError::Tink("no primary key"));
    }
    Ok(keys)
}

fn from_wire(suite: Suite, wire: &WireKey, primary: u32) -> Result<TinkKey, CryptoError> {
    if wire.output_prefix_type != TINK {
        return Err(CryptoError::Tink("output prefix is not TINK"));
    }
    let id = KeyId::from_be_bytes(wire.key_id.to_be_bytes());
    if id == KeyId::AT_HAND {
        return Err(CryptoError::Tink("key id is zero"));
    }
    let state = match wire.status.as_str() {
        ENABLED if wire.key_id == primary => KeyState::Primary,
        ENABLED => KeyState::DecryptOnly,
        _ if wire.key_id == primary => {
            return Err(CryptoError::Tink("primary key is not enabled"));
        }
        DISABLED => KeyState::Suspended,
        DESTROYED => KeyState::Destroyed,
        _ => return Err(CryptoError::Tink("unknown status of a key")),
    };
    let material = match (state, &wire.key_data) {
        (KeyState::Destroyed, None) => None,
        (KeyState::Destroyed, Some(_)) => {
            return Err(CryptoError::Tink("destroyed key has its bytes"));
        }
        (_, None) => return Err(CryptoError::Tink("a key lacks its bytes")),
        (_, Some(data)) => Some(material(suite, data)?),
    };
    Ok(TinkKey {
        id,
        state,
        material,
    })
}

fn material(suite: Suite, data: &WireKeyData) -> Result<KeyMaterial, CryptoError> {
    if data.type_url != type_url(suite) {
        return Err(other_type(&data.type_url));
    }
    if data.key_material_type != SYMMETRIC {
        return Err(CryptoError::Tink("key is not symmetric"));
    }
    let message = BASE64.decode(&data.value).map(Zeroizing::new);
    let message = message.map_err(|_| CryptoError::Tink("key is not base64"))?;
    proto::decode(suite, &message)
}

/// Names the type, if it looks like one: it comes from outside.
fn other_type(url: &str) -> CryptoError {
    let name = url.rsplit(['/', '.']).next().unwrap_or_default();
    let fits = name.len() <= MAX_NAME && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match name {
        "" => CryptoError::Tink("key of an unknown type"),
        name if fits => CryptoError::TinkType(name.into()),
        _ => CryptoError::Tink("key of an unknown type"),
    }
}

fn number(id: KeyId) -> u32 {
    u32::from_be_bytes(id.to_be_bytes())
}
