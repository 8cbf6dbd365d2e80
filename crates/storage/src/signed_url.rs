//! Signed URLs: a right to one version, for one purpose, for a short time, checkable by anybody who
//! holds the tenant's URL key.
//!
//! `/v1/<tenant tag>/<document>/<version>?e=<unix>&k=<kid>&g=<grant>&s=<HMAC-SHA-256>`. The MAC is
//! over the PAE of all parts and compared in constant time before anything else is looked at.
//! Pure: keys and time come from outside. There is no PHI and no file name in it.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eonpro_core::id::{DocumentId, PublicId as _, VersionId};
use eonpro_core::pae;
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::time::Timestamp;
use ring::hmac;
use uuid::Uuid;

use crate::error::StorageError;
use crate::layout::TenantTag;

pub(crate) const KEY_LABEL: &str = "storage/url";
const MAC_LABEL: &[u8] = b"eonpro/storage/url/v1";
const KID_LABEL: &[u8] = b"eonpro/storage/url-kid/v1";
/// How long one key signs. Not below the longest life of a URL, so that the key before is enough.
const KEY_PERIOD: Duration = crate::policy::LONGEST_URL;
const GRANT_FORMAT: u8 = 1;
const GRANT_LEN: usize = 20;
const LONGEST: usize = 512;

/// What a signed URL is for. A URL for one purpose is worthless for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UrlPurpose {
    /// Reading the version.
    Download,
    /// Attaching the version to something else.
    Attach,
}

impl UrlPurpose {
    /// A stable name for events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Attach => "attach",
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Download => 1,
            Self::Attach => 2,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Download),
            2 => Some(Self::Attach),
            _ => None,
        }
    }
}

/// The HTTP method that a URL is used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET, and HEAD as its variant without a body.
    Get,
    /// POST.
    Post,
}

impl Method {
    const fn byte(self) -> u8 {
        match self {
            Self::Get => 1,
            Self::Post => 2,
        }
    }
}

/// What a URL shall allow.
#[non_exhaustive]
#[derive(Debug, Clone, Copy)]
pub struct GrantSpec {
    /// For what.
    pub purpose: UrlPurpose,
    /// With which method.
    pub method: Method,
    /// For how long; `None` means as long as the category allows.
    pub lifetime: Option<Duration>,
    /// How often. The category may allow less.
    pub uses: Uses,
}

/// How often a URL works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Uses {
    /// Until it expires.
    #[default]
    Many,
    /// Once.
    Once,
}

impl Default for GrantSpec {
    /// A download with GET, as long and as often as the category allows.
    fn default() -> Self {
        Self {
            purpose: UrlPurpose::Download,
            method: Method::Get,
            lifetime: None,
            uses: Uses::Many,
        }
    }
}

impl GrantSpec {
    /// For this long.
    #[must_use]
    pub fn lasting(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// For a single use.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.uses = Uses::Once;
        self
    }

    /// For this purpose and method.
    #[must_use]
    pub fn to(mut self, purpose: UrlPurpose, method: Method) -> Self {
        self.purpose = purpose;
        self.method = method;
        self
    }
}

/// A signed URL: path and query. Whoever holds it has what it grants, so it is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUrl {
    /// Path and query, to be appended to the origin that serves documents.
    pub path: SecretText,
    /// The grant, as the audit log names it.
    pub grant: Uuid,
    /// When it ends.
    pub expires: Timestamp,
}

/// What the MAC covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) tenant: TenantTag,
    pub(crate) document: DocumentId,
    pub(crate) version: VersionId,
    /// Seconds since the Unix epoch.
    pub(crate) expires: i64,
    pub(crate) purpose: UrlPurpose,
    pub(crate) method: Method,
    pub(crate) uses: Uses,
    pub(crate) grant: Uuid,
}

/// A tenant's URL keys: one per week, derived; the present one signs, it and the last one verify.
pub(crate) struct UrlKeys {
    master: hmac::Key,
    now: Timestamp,
}

impl fmt::Debug for UrlKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UrlKeys")
    }
}

impl UrlKeys {
    pub(crate) fn at(key: &KeyBytes<32>, now: Timestamp) -> Self {
        Self {
            master: hmac::Key::new(hmac::HMAC_SHA256, key.expose()),
            now,
        }
    }

    fn present(&self) -> u32 {
        let period = i64::try_from(KEY_PERIOD.as_secs()).unwrap_or(i64::MAX);
        u32::try_from(self.now.seconds().div_euclid(period)).unwrap_or(0)
    }

    fn key(&self, kid: u32) -> hmac::Key {
        let label = pae::encode(&[KID_LABEL, &kid.to_be_bytes()]);
        let derived = hmac::sign(&self.master, &label);
        hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
    }

    pub(crate) fn sign(&self, terms: &Terms) -> SignedUrl {
        let kid = self.present();
        let mac = hmac::sign(&self.key(kid), &terms.encode(kid));
        let path = format!(
            "/v1/{}/{}/{}?e={}&k={kid}&g={}&s={}",
            terms.tenant.as_str(),
            terms.document.uuid().simple(),
            terms.version.uuid().simple(),
            terms.expires,
            URL_SAFE_NO_PAD.encode(terms.grant_bytes()),
            URL_SAFE_NO_PAD.encode(mac.as_ref()),
        );
        SignedUrl {
            path: SecretText::new(path),
            grant: terms.grant,
            expires: Timestamp::from_seconds(terms.expires),
        }
    }

    /// The terms of `url`, if it was signed under one of these keys, has not expired and is used
    /// with its method.
    pub(crate) fn verify(&self, url: &Claimed, method: Method) -> Result<Terms, StorageError> {
        let present = self.present();
        let known = url.kid == present || present.checked_sub(1) == Some(url.kid);
        // An unknown kid costs the same work as a bad MAC.
        let key = self.key(url.kid);
        let genuine = hmac::verify(&key, &url.terms.encode(url.kid), &url.mac).is_ok();
        let in_time = self.now.seconds() < url.terms.expires;
        if known && genuine && in_time && url.terms.method == method {
            Ok(url.terms.clone())
        } else {
            Err(StorageError::UrlRefused)
        }
    }
}

impl Terms {
    fn encode(&self, kid: u32) -> Vec<u8> {
        pae::encode(&[
            MAC_LABEL,
            &kid.to_be_bytes(),
            &[self.method.byte()],
            self.purpose.as_str().as_bytes(),
            self.tenant.as_str().as_bytes(),
            self.document.uuid().as_bytes(),
            self.version.uuid().as_bytes(),
            &self.expires.to_be_bytes(),
            &self.grant_bytes(),
        ])
    }

    fn grant_bytes(&self) -> Vec<u8> {
        let once = u8::from(self.uses == Uses::Once);
        let mut bytes = vec![GRANT_FORMAT, self.purpose.byte(), self.method.byte(), once];
        bytes.extend_from_slice(self.grant.as_bytes());
        bytes
    }
}

/// What a URL claims, well-formed but unverified.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) terms: Terms,
    kid: u32,
    mac: Vec<u8>,
}

impl Claimed {
    /// Parses path and query, in exactly the form that [`UrlKeys::sign`] writes.
    pub(crate) fn parse(url: &str) -> Result<Self, StorageError> {
        Self::try_parse(url).ok_or(StorageError::UrlRefused)
    }

    fn try_parse(url: &str) -> Option<Self> {
        if url.len() > LONGEST {
            return None;
        }
        let (path, query) = url.strip_prefix("/v1/")?.split_once('?')?;
        let mut path = path.split('/');
        let tenant = TenantTag::parse(path.next()?)?;
        let document = DocumentId::from_uuid(simple_uuid(path.next()?)?);
        let version = VersionId::from_uuid(simple_uuid(path.next()?)?);
        let mut query = query.split('&');
        let expires = canonical::<i64>(query.next()?.strip_prefix("e=")?)?;
        let kid = canonical::<u32>(query.next()?.strip_prefix("k=")?)?;
        let grant = URL_SAFE_NO_PAD
            .decode(query.next()?.strip_prefix("g=")?)
            .ok()?;
        let mac = URL_SAFE_NO_PAD
            .decode(query.next()?.strip_prefix("s=")?)
            .ok()?;
        if path.next().is_some() || query.next().is_some() || grant.len() != GRANT_LEN {
            return None;
        }
        let (head, id) = grant.split_first_chunk::<4>()?;
        let [GRANT_FORMAT, purpose, method, once] = *head else {
            return None;
        };
        let method = [Method::Get, Method::Post]
            .into_iter()
            .find(|known| known.byte() == method)?;
        let terms = Terms {
            tenant,
            document,
            version,
            expires,
            purpose: UrlPurpose::from_byte(purpose)?,
            method,
            uses: match once {
                0 => Uses::Many,
                1 => Uses::Once,
                _ => return None,
            },
            grant: Uuid::from_slice(id).ok()?,
        };
        Some(Self { terms, kid, mac })
    }
}

fn simple_uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    (uuid.simple().to_string() == text).then_some(uuid)
}

/// A number in the one form that is ever written: no sign, no leading zero.
fn canonical<N: std::str::FromStr + fmt::Display>(text: &str) -> Option<N> {
    let number: N = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: Duration = KEY_PERIOD;

    fn keys(key: u8, now: i64) -> UrlKeys {
        UrlKeys::at(
            &KeyBytes::take(&mut [key; 32]),
            Timestamp::from_seconds(now),
        )
    }

    fn terms(expires: i64) -> Terms {
        Terms {
            tenant: TenantTag::parse(&"a".repeat(26)).unwrap(),
            document: DocumentId::from_uuid(Uuid::from_u128(1)),
            version: VersionId::from_uuid(Uuid::from_u128(2)),
            expires,
            purpose: UrlPurpose::Download,
            method: Method::Get,
            uses: Uses::Many,
            grant: Uuid::from_u128(3),
        }
    }

    fn check(keys: &UrlKeys, url: &str, method: Method) -> Result<Terms, StorageError> {
        keys.verify(&Claimed::parse(url)?, method)
    }

    #[test]
    fn a_url_grants_exactly_what_was_signed_until_it_expires() {
        let url = keys(1, 1000).sign(&terms(1300));
        let url = url.path.expose();
        assert_eq!(
            check(&keys(1, 1299), url, Method::Get).unwrap(),
            terms(1300)
        );
        for (keys, method) in [
            (keys(1, 1300), Method::Get),
            (keys(2, 1000), Method::Get),
            (keys(1, 1000), Method::Post),
        ] {
            let refused = check(&keys, url, method);
            assert!(matches!(refused, Err(StorageError::UrlRefused)));
        }
    }

    #[test]
    fn no_character_of_a_url_can_be_changed() {
        let url = keys(1, 1000).sign(&terms(1300));
        let url = url.path.expose();
        for at in 0..url.len() {
            for with in [b'0', b'1', b'a', b'b', b'/', b'&', b'A'] {
                let mut bytes = url.as_bytes().to_vec();
                if bytes[at] == with {
                    continue;
                }
                bytes[at] = with;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(
                    check(&keys(1, 1000), &changed, Method::Get).is_err(),
                    "{changed}"
                );
            }
        }
    }

    #[test]
    fn a_url_has_one_form_only() {
        let url = keys(1, 1000).sign(&terms(1300)).path.expose().to_owned();
        for changed in [
            url.replace("e=1300", "e=01300"),
            url.replace("e=1300", "e=+1300"),
            url.replace("k=0", "k=00"),
            url.replace("?e=", "?x=1&e="),
            format!("{url}&x=1"),
            format!("{url}="),
            format!("{url}{}", "a".repeat(600)),
            url.replace("/v1/", "/v1//"),
            url.to_uppercase(),
        ] {
            assert!(
                check(&keys(1, 1000), &changed, Method::Get).is_err(),
                "{changed}"
            );
        }
    }

    #[test]
    fn keys_rotate_weekly_and_the_last_one_still_verifies() {
        let week = i64::try_from(WEEK.as_secs()).unwrap();
        let signed_at = week * 100 + week - 1;
        let expires = signed_at + week;
        let url = keys(1, signed_at)
            .sign(&terms(expires))
            .path
            .expose()
            .to_owned();
        assert!(url.contains("k=100"));
        assert!(check(&keys(1, expires - 1), &url, Method::Get).is_ok());

        let eternal = keys(1, signed_at)
            .sign(&terms(i64::MAX))
            .path
            .expose()
            .to_owned();
        assert!(check(&keys(1, week * 101), &eternal, Method::Get).is_ok());
        assert!(check(&keys(1, week * 102), &eternal, Method::Get).is_err());
        assert!(check(&keys(1, week * 99), &eternal, Method::Get).is_err());
    }

    #[test]
    fn the_url_prints_nothing_of_itself() {
        let url = keys(1, 1000).sign(&terms(1300));
        assert!(!format!("{url:?}").contains("/v1/"));
    }
}
