//! Keys for the tests of this folder.

use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::{Cosignature, KeyKind, KeyName, SignatureLine, VerifierKey};
use crate::checkpoint::VerifyingKey;

/// A key that signs.
pub(super) struct Key {
    pair: Ed25519KeyPair,
    vkey: VerifierKey,
}

impl Key {
    /// The time of every cosignature.
    pub(super) const TIME: u64 = 1_679_315_147;

    pub(super) fn note(name: &str, seed: u8) -> Self {
        Self::new(name, seed, KeyKind::Note)
    }

    pub(super) fn cosigner(name: &str, seed: u8) -> Self {
        Self::new(name, seed, KeyKind::Cosignature)
    }

    fn new(name: &str, seed: u8, kind: KeyKind) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = VerifyingKey::from_bytes(pair.public_key().as_ref().try_into().unwrap());
        let vkey = VerifierKey::new(KeyName::parse(name).unwrap(), kind, public);
        Self { pair, vkey }
    }

    pub(super) fn vkey(&self) -> VerifierKey {
        self.vkey.clone()
    }

    /// The line over `text`; of a cosigner at [`TIME`](Self::TIME).
    pub(super) fn line(&self, text: &str) -> SignatureLine {
        self.line_at(text, Self::TIME)
    }

    pub(super) fn line_at(&self, text: &str, time: u64) -> SignatureLine {
        match self.vkey.kind() {
            KeyKind::Note => self.vkey.line(self.pair.sign(text.as_bytes()).as_ref()),
            KeyKind::Cosignature => {
                let message = format!("cosignature/v1\ntime {time}\n{text}");
                let signature = self.pair.sign(message.as_bytes());
                let signature = signature.as_ref().try_into().unwrap();
                let made = Cosignature::new(time, signature).unwrap();
                self.vkey.line(&made.to_bytes())
            }
        }
    }
}
