//! The session token: `session_<id>_<tag>.<secret>`.
//!
//! The tag binds the id to its tenant, so another tenant's token is recognised as such before
//! anything is looked up. The secret is 256 random bits; the store knows a digest of it alone,
//! which is enough for a secret of that strength (ASVS 5.0 6.5.2).

use std::fmt;

use eonpro_core::digest::Digest;
use eonpro_core::id::{IdError, IdTagger, PublicId as _, SessionId, TenantId};
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::{TenantScope, pae};
use ring::rand::{SecureRandom as _, SystemRandom};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::error::AuthError;
use crate::token::{decode_base64url, encode_base64url};

/// The longest session token that is looked at, in bytes.
const MAX_BYTES: usize = 160;

/// The secret half of a session token.
pub(crate) struct SessionSecret(KeyBytes<32>);

impl SessionSecret {
    pub(crate) fn generate() -> Result<Self, AuthError> {
        let mut bytes = [0; 32];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| AuthError::Primitive("no randomness".into()))?;
        Ok(Self(KeyBytes::take(&mut bytes)))
    }

    /// What the store keeps in the secret's place.
    pub(crate) fn proof(&self, tenant: TenantId, id: SessionId) -> Digest {
        let id = id.uuid();
        let parts: [&[u8]; 4] = [
            b"eonpro/session/v1",
            tenant.as_bytes(),
            id.as_bytes(),
            self.0.expose(),
        ];
        Digest::of(&Zeroizing::new(pae::encode(&parts)))
    }

    /// The token that carries it.
    pub(crate) fn token(
        &self,
        tagger: &IdTagger,
        scope: &TenantScope,
        id: SessionId,
    ) -> SecretText {
        let secret = Zeroizing::new(encode_base64url(self.0.expose()));
        SecretText::new(format!("{}.{}", tagger.tag(scope, id), *secret))
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[SECRET]")
    }
}

/// What a presented token turned out to be.
#[derive(Debug)]
pub(crate) enum Presented {
    /// One of this tenant's; its secret is still to be checked.
    Ours(SessionId, SessionSecret),
    /// Tagged for another tenant, or forged.
    Foreign(Uuid),
    /// Not a session token.
    Malformed,
}

/// Takes a presented token apart.
pub(crate) fn split(tagger: &IdTagger, scope: &TenantScope, token: &str) -> Presented {
    let Some((tagged, secret)) = token.split_once('.').filter(|_| token.len() <= MAX_BYTES) else {
        return Presented::Malformed;
    };
    match tagger.open::<SessionId>(scope, tagged) {
        Err(IdError::TenantMismatch) => Presented::Foreign(claimed_id(tagged)),
        Err(_) => Presented::Malformed,
        Ok(id) => {
            let secret = decode_base64url(secret).map(Zeroizing::new);
            match secret.and_then(|secret| KeyBytes::copy_from(&secret)) {
                Some(secret) => Presented::Ours(id, SessionSecret(secret)),
                None => Presented::Malformed,
            }
        }
    }
}

fn claimed_id(tagged: &str) -> Uuid {
    tagged
        .split('_')
        .nth(1)
        .and_then(|id| Uuid::try_parse(id).ok())
        .unwrap_or_default()
}
