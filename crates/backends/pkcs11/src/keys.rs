//! The key objects: how they are made, found, used and destroyed. Everything here blocks.

use cryptoki::context::Function;
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::types::Ulong;
use eonpro_core::secret::KeyBytes;
use eonpro_encryption::{CryptoError, EpochId};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::module::is_logged_in;
use crate::wire;

const ROOT_ID_LEN: usize = 8;
const EPOCH_LEN: usize = 16;

/// Names a root key within its token: the `CKA_ID` of its object, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootName {
    label: String,
    hex: String,
}

impl RootName {
    pub(crate) fn hex(&self) -> &str {
        &self.hex
    }

    fn epoch_prefix(&self) -> String {
        format!("eonpro-epoch/{}/", self.hex)
    }

    /// The label of an epoch's key; `None` for an id that this custody never gives.
    fn epoch_label(&self, epoch: &EpochId) -> Option<String> {
        let hex = epoch.as_str().strip_prefix("epoch:")?;
        is_hex(hex, EPOCH_LEN).then(|| format!("{}{hex}", self.epoch_prefix()))
    }

    fn epoch_of(&self, label: &[u8]) -> Option<EpochId> {
        let label = std::str::from_utf8(label).ok()?;
        let hex = label.strip_prefix(&self.epoch_prefix())?;
        is_hex(hex, EPOCH_LEN).then(|| EpochId::new(&format!("epoch:{hex}")))?
    }
}

fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Makes the root key of that label. There must be none.
pub(crate) fn create_root(session: &Session, label: &str) -> Result<RootName, Failure> {
    let exists = || CryptoError::Config("key label of a root key that exists");
    if !roots(session, label)?.is_empty() {
        return Err(exists().into());
    }
    let mut id = [0; ROOT_ID_LEN];
    session.generate_random_slice(&mut id)?;
    let made = generate(session, label, &id)?;
    if roots(session, label)?.len() > 1 {
        // Another process was as fast; neither key has wrapped anything.
        session.destroy_object(made)?;
        return Err(exists().into());
    }
    open_root(session, label)
}

/// Finds the root key of that label and sees that it may not leave its token.
pub(crate) fn open_root(session: &Session, label: &str) -> Result<RootName, Failure> {
    let found = roots(session, label)?;
    let root = match found.as_slice() {
        [root] => *root,
        [] => return Err(CryptoError::Config("key label that no root key has").into()),
        _ => return Err(CryptoError::Config("key label that several root keys have").into()),
    };
    let wanted = [
        AttributeType::Sensitive,
        AttributeType::Extractable,
        AttributeType::ValueLen,
        AttributeType::Id,
    ];
    let (mut sensitive, mut extractable, mut long, mut id) = (false, true, false, None);
    for attribute in session.get_attributes(root, &wanted)? {
        match attribute {
            Attribute::Sensitive(is) => sensitive = is,
            Attribute::Extractable(is) => extractable = is,
            Attribute::ValueLen(length) => long = usize::from(length) == 32,
            Attribute::Id(bytes) => id = Some(bytes),
            _ => {}
        }
    }
    if !sensitive || extractable || !long {
        return Err(CryptoError::Config("key label of a key that may leave its token").into());
    }
    match id {
        Some(id) if id.len() == ROOT_ID_LEN => Ok(RootName {
            label: label.to_owned(),
            hex: hex(&id),
        }),
        _ => Err(CryptoError::Config("key label of a key without an id of ours").into()),
    }
}

/// Makes an epoch key.
pub(crate) fn create_epoch(session: &Session, root: &RootName) -> Result<EpochId, Failure> {
    find_root(session, root)?;
    let mut random = [0; EPOCH_LEN];
    session.generate_random_slice(&mut random)?;
    let epoch = EpochId::new(&format!("epoch:{}", hex(&random)));
    let epoch = epoch.ok_or(Failure::Module("an id is malformed"))?;
    let label = root.epoch_label(&epoch);
    let label = label.ok_or(Failure::Module("an id is malformed"))?;
    generate(session, &label, &random)?;
    Ok(epoch)
}

/// Destroys an epoch key and looks whether it is gone.
pub(crate) fn destroy_epoch(
    session: &Session,
    root: &RootName,
    epoch: &EpochId,
) -> Result<(), Failure> {
    let Some(label) = root.epoch_label(epoch) else {
        return Err(CryptoError::ForeignCustody.into());
    };
    for key in session.find_objects(&lookup(&label))? {
        match session.destroy_object(key).map_err(Failure::from) {
            Err(failure) if is_gone(&failure) => {}
            other => other?,
        }
    }
    if !session.find_objects(&lookup(&label))?.is_empty() {
        return Err(Failure::Module("a destroyed key is still there"));
    }
    // A token that is away shows no keys either.
    find_root(session, root)?;
    Ok(())
}

pub(crate) fn epochs(session: &Session, root: &RootName) -> Result<Vec<EpochId>, Failure> {
    let mut epochs = Vec::new();
    for key in session.find_objects(&aes())? {
        let label = session.get_attributes(key, &[AttributeType::Label]);
        let label = match label.map_err(Failure::from) {
            // Destroyed since it was found.
            Err(failure) if is_gone(&failure) => continue,
            other => other?,
        };
        let labels = label.iter().filter_map(|attribute| match attribute {
            Attribute::Label(label) => root.epoch_of(label),
            _ => None,
        });
        epochs.extend(labels);
    }
    find_root(session, root)?;
    epochs.sort_unstable();
    epochs.dedup();
    Ok(epochs)
}

/// The root key's object.
pub(crate) fn find_root(session: &Session, root: &RootName) -> Result<ObjectHandle, Failure> {
    if !is_logged_in(session)? {
        return Err(Failure::Away("its login is lost"));
    }
    match roots(session, &root.label)?.as_slice() {
        [key] => Ok(*key),
        _ => Err(Failure::Away("it has no such root key")),
    }
}

/// An epoch's key object. That an epoch is gone is for ever, so it is said only while the root key
/// of the same token is seen: a token that was taken away has no objects either.
pub(crate) fn find_epoch(
    session: &Session,
    root: &RootName,
    epoch: &EpochId,
) -> Result<ObjectHandle, Failure> {
    let found = match root.epoch_label(epoch) {
        Some(label) => session.find_objects(&lookup(&label))?.first().copied(),
        None => None,
    };
    match found {
        Some(key) => Ok(key),
        None => {
            find_root(session, root)?;
            Err(CryptoError::EpochGone.into())
        }
    }
}

/// AES-256-GCM under `key` with an IV of the token's random numbers and `aad`.
pub(crate) fn wrap(
    session: &Session,
    key: ObjectHandle,
    plain: &KeyBytes<32>,
    aad: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut iv = [0; wire::IV_LEN];
    session.generate_random_slice(&mut iv)?;
    let parameters = GcmParams::new(&mut iv, aad, Ulong::new(wire::TAG_BITS))?;
    let body = session.encrypt(&Mechanism::AesGcm(parameters), key, plain.expose())?;
    // Read afterwards: some tokens choose an IV of their own and write it back.
    let body = body.as_slice().try_into();
    let body = body.map_err(|_| Failure::Module("a ciphertext has another length"))?;
    Ok(wire::encode(&iv, body))
}

pub(crate) fn unwrap(
    session: &Session,
    key: ObjectHandle,
    wrapped: &[u8],
    aad: &[u8],
) -> Result<KeyBytes<32>, Failure> {
    let (mut iv, body) = wire::decode(wrapped)?;
    let parameters = GcmParams::new(&mut iv, aad, Ulong::new(wire::TAG_BITS))?;
    match session.decrypt(&Mechanism::AesGcm(parameters), key, &body) {
        Ok(plain) => {
            let plain = Zeroizing::new(plain);
            Ok(KeyBytes::copy_from(&plain).ok_or(CryptoError::RootMismatch)?)
        }
        Err(error) => Err(judge_decryption(session, error.into())),
    }
}

/// Tells what does not authenticate from a token that fails. There is one right code for the former,
/// `CKR_ENCRYPTED_DATA_INVALID` (PKCS #11 v3: `CKR_AEAD_DECRYPT_FAILED`), but SoftHSM and others say
/// `CKR_GENERAL_ERROR`: that is believed only from the decryption itself, and only if the session
/// still stands.
fn judge_decryption(session: &Session, failure: Failure) -> Failure {
    let refused = failure.is_one_of(&[
        RvError::EncryptedDataInvalid,
        RvError::EncryptedDataLenRange,
        // CKR_AEAD_DECRYPT_FAILED, which the library does not name.
        RvError::UnknownErrorCode(0x42),
    ]);
    let vague = failure.is_one_of(&[RvError::GeneralError])
        && matches!(
            failure,
            Failure::Call {
                call: Function::Decrypt,
                ..
            }
        )
        && matches!(is_logged_in(session), Ok(true));
    if refused || vague {
        CryptoError::RootMismatch.into()
    } else {
        failure
    }
}

/// Whether the object that was used is gone.
pub(crate) fn is_gone(failure: &Failure) -> bool {
    failure.is_one_of(&[RvError::ObjectHandleInvalid, RvError::KeyHandleInvalid])
}

fn roots(session: &Session, label: &str) -> Result<Vec<ObjectHandle>, Failure> {
    Ok(session.find_objects(&lookup(label))?)
}

fn aes() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(true),
    ]
}

fn lookup(label: &str) -> Vec<Attribute> {
    let mut template = aes();
    template.push(Attribute::Label(label.as_bytes().to_vec()));
    template
}

/// An AES-256 key that never leaves its token, is never copied or changed, and only encrypts.
fn generate(session: &Session, label: &str, id: &[u8]) -> Result<ObjectHandle, Failure> {
    let mut template = lookup(label);
    template.extend([
        Attribute::Id(id.to_vec()),
        Attribute::ValueLen(Ulong::new(32)),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Copyable(false),
        Attribute::Modifiable(false),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Wrap(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
    ]);
    Ok(session.generate_key(&Mechanism::AesKeyGen, &template)?)
}
