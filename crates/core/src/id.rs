//! Identifiers: fresh random bits that mean nothing to whoever finds them.
//!
//! Row, document and subject ids are random and never derived from input (a FHIR `Patient.id` may
//! be a medical record number). An id that leaves the system is *tagged*: it carries a MAC that
//! binds it to its tenant, so that another tenant's id is refused before anything is looked up.

use std::fmt;

use ring::hmac;
use uuid::Uuid;

use crate::entropy::Entropy;
use crate::error::{Classify, ErrorKind};
use crate::pae;
use crate::scope::TenantScope;
use crate::secret::KeyBytes;
use crate::time::Clock;

/// An id that can be tagged and handed out.
pub trait PublicId: Copy + Send + Sync + 'static {
    /// The kind of thing, part of the tag: an id of one kind is refused as another.
    const KIND: &'static str;

    /// From its 128 bits.
    fn from_uuid(bits: Uuid) -> Self;

    /// Its 128 bits.
    fn uuid(self) -> Uuid;
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh random id.
            #[must_use]
            pub fn random(entropy: &dyn Entropy) -> Self {
                Self(random_uuid(entropy))
            }
        }

        impl PublicId for $name {
            const KIND: &'static str = $kind;

            fn from_uuid(bits: Uuid) -> Self {
                Self(bits)
            }

            fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

random_id!(
    /// A row of a tenant's database.
    RowId, "row"
);
random_id!(
    /// A stored document.
    DocumentId, "document"
);
random_id!(
    /// One version of a document.
    VersionId, "version"
);
random_id!(
    /// The pseudonym of a patient in one tenant's records and trail.
    SubjectId, "subject"
);
random_id!(
    /// One sign-in of one actor. Not the session's secret.
    SessionId, "session"
);

/// A tenant. Never the nil UUID, which stands for nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Uuid);

impl TenantId {
    /// A fresh random tenant id.
    #[must_use]
    pub fn random(entropy: &dyn Entropy) -> Self {
        Self(random_uuid(entropy))
    }

    /// From its 128 bits; `None` for the nil UUID.
    #[must_use]
    pub fn from_uuid(bits: Uuid) -> Option<Self> {
        (!bits.is_nil()).then_some(Self(bits))
    }

    /// Parses any UUID text form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_uuid(Uuid::try_parse(text).ok()?)
    }

    /// Its 128 bits.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// Its 16 bytes, big endian.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

macro_rules! ordered_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id: UUID version 7 (RFC 9562), ordered by its creation time.
            #[must_use]
            pub fn fresh(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
                let mut random = [0; 10];
                entropy.fill(&mut random);
                let millis = u64::try_from(clock.wall().millis()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }

            /// From its 128 bits.
            #[must_use]
            pub const fn from_uuid(bits: Uuid) -> Self {
                Self(bits)
            }

            /// Its 128 bits.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }
    };
}

ordered_id!(
    /// One request.
    RequestId
);
ordered_id!(
    /// One event; the idempotency key of its audit entry.
    EventId
);

macro_rules! print_as_uuid {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}

print_as_uuid!(TenantId, RequestId, EventId);

fn random_uuid(entropy: &dyn Entropy) -> Uuid {
    let mut bits = [0; 16];
    entropy.fill(&mut bits);
    uuid::Builder::from_random_bytes(bits).into_uuid()
}

/// Who acts: the subject of a token, a service name, a device. Pseudonymous where the issuer is.
///
/// 1 to 128 characters of visible ASCII without `"` and `\`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId(std::sync::Arc<str>);

impl ActorId {
    /// Checks and takes `text`.
    ///
    /// # Errors
    /// [`IdError::Malformed`] outside of the limits above.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let fits = (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(IdError::Malformed)
        }
    }

    /// Nobody that is known.
    #[must_use]
    pub fn anonymous() -> Self {
        Self("anonymous".into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an id was refused.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not an id of the expected form.
    #[error("malformed id")]
    Malformed,
    /// Not minted for this tenant and kind: forged, or another tenant's.
    #[error("id was not minted for this tenant")]
    TenantMismatch,
}

impl Classify for IdError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed => ErrorKind::InvalidInput,
            Self::TenantMismatch => ErrorKind::TenantMismatch,
        }
    }
}

/// Mints and checks tagged ids: `kind_<32 hex digits of id>_<32 hex digits of tag>`.
///
/// The tag is HMAC-SHA-256 over `PAE(label, kind, tenant, id)`, cut to 128 bits.
pub struct IdTagger(hmac::Key);

impl IdTagger {
    /// A tagger under `key`, which must be the same in all processes of the system.
    #[must_use]
    pub fn new(key: &KeyBytes<32>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.expose()))
    }

    /// The tagged form of `id` for `scope`'s tenant.
    #[must_use]
    pub fn tag<I: PublicId>(&self, scope: &TenantScope, id: I) -> String {
        let mac = self.mac::<I>(scope.tenant(), id.uuid());
        let mut out = format!("{}_{}_", I::KIND, id.uuid().simple());
        for byte in mac.as_ref().iter().take(16) {
            use fmt::Write as _;
            let _infallible = write!(out, "{byte:02x}");
        }
        out
    }

    /// The id in `text`, if it was tagged for `scope`'s tenant.
    ///
    /// # Errors
    /// [`IdError::Malformed`] if `text` has another form; [`IdError::TenantMismatch`] if the tag
    /// does not fit this tenant and kind. Compares in constant time.
    pub fn open<I: PublicId>(&self, scope: &TenantScope, text: &str) -> Result<I, IdError> {
        let rest = text
            .strip_prefix(I::KIND)
            .and_then(|rest| rest.strip_prefix('_'));
        let (id, tag) = rest
            .and_then(|rest| rest.split_once('_'))
            .ok_or(IdError::Malformed)?;
        if id.len() != 32 || tag.len() != 32 {
            return Err(IdError::Malformed);
        }
        let id = Uuid::try_parse(id).map_err(|_| IdError::Malformed)?;
        let tag = Uuid::try_parse(tag).map_err(|_| IdError::Malformed)?;
        let expected = self.mac::<I>(scope.tenant(), id);
        let expected = expected.as_ref().get(..16).ok_or(IdError::Malformed)?;
        use subtle::ConstantTimeEq as _;
        if bool::from(expected.ct_eq(tag.as_bytes())) {
            Ok(I::from_uuid(id))
        } else {
            Err(IdError::TenantMismatch)
        }
    }

    fn mac<I: PublicId>(&self, tenant: TenantId, id: Uuid) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        let parts: [&[u8]; 4] = [
            b"eonpro/id/v1",
            I::KIND.as_bytes(),
            tenant.as_bytes(),
            id.as_bytes(),
        ];
        pae::visit(&parts, |bytes| context.update(bytes));
        context.sign()
    }
}

impl fmt::Debug for IdTagger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdTagger")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::scope::test_scope;

    fn tagger() -> IdTagger {
        IdTagger::new(&KeyBytes::take(&mut [9; 32]))
    }

    #[test]
    fn a_tagged_id_opens_for_its_own_tenant_and_kind_only() {
        let entropy = SeededEntropy::new(1);
        let (ours, theirs) = (test_scope(1), test_scope(2));
        let row = RowId::random(&entropy);
        let text = tagger().tag(&ours, row);
        assert_eq!(tagger().open::<RowId>(&ours, &text), Ok(row));
        assert_eq!(
            tagger().open::<RowId>(&theirs, &text),
            Err(IdError::TenantMismatch)
        );
        assert_eq!(
            tagger().open::<DocumentId>(&ours, &text),
            Err(IdError::Malformed)
        );
        let renamed = text.replacen("row_", "document_", 1);
        assert_eq!(
            tagger().open::<DocumentId>(&ours, &renamed),
            Err(IdError::TenantMismatch)
        );
    }

    #[test]
    fn a_tagged_id_with_any_digit_changed_is_refused() {
        let scope = test_scope(1);
        let text = tagger().tag(&scope, RowId::random(&SeededEntropy::new(3)));
        for at in 4..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(
                tagger().open::<RowId>(&scope, &changed).is_err(),
                "{changed}"
            );
        }
    }

    #[test]
    fn the_nil_uuid_is_no_tenant() {
        assert_eq!(TenantId::from_uuid(Uuid::nil()), None);
        assert_eq!(
            TenantId::parse("00000000-0000-0000-0000-000000000000"),
            None
        );
    }

    #[test]
    fn an_actor_id_is_short_visible_ascii() {
        assert!(ActorId::new("dr.grey@clinic").is_ok());
        for bad in [
            "",
            "with space",
            "quote\"",
            "back\\slash",
            "line\n",
            "ümlaut",
            &"x".repeat(129),
        ] {
            assert_eq!(ActorId::new(bad), Err(IdError::Malformed), "{bad:?}");
        }
    }
}
