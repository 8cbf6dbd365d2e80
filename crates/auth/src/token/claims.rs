//! The claims of an access token, and the rules they must obey.
//!
//! A claim of the wrong type is refused, never treated as absent. RFC 7519 section 4.1 and RFC 9068.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::event::Code;
use eonpro_core::id::{ActorId, TenantId};
use eonpro_core::time::Timestamp;

use super::Reject;
use super::json::Json;
use crate::error::ConfigError;

/// The most leeway that a verifier may grant to foreign clocks.
pub const MAX_LEEWAY: Duration = Duration::from_secs(60);

const MAX_AUDIENCES: usize = 32;
const MAX_ROLES: usize = 64;
const MAX_METHODS: usize = 16;
// The last second of the year 2199: beyond it a date is a mistake, and nanoseconds run out in 2262.
const LATEST: i64 = 7_258_118_399;

macro_rules! party {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(Arc<str>);

        impl $name {
            /// 1 to 256 characters of visible ASCII, compared byte for byte.
            ///
            /// # Errors
            /// [`ConfigError`] outside of these limits.
            pub fn new(text: &str) -> Result<Self, ConfigError> {
                let fits = (1..=256).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_graphic());
                if fits {
                    Ok(Self(text.into()))
                } else {
                    Err(ConfigError(concat!(stringify!($name), " of 1 to 256 visible characters")))
                }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

party!(
    /// Who issues tokens: the value of `iss`.
    Issuer
);
party!(
    /// For whom tokens are issued, which is us: a value of `aud`.
    Audience
);

impl Issuer {
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

/// What a verifier demands of claims.
#[derive(Debug, Clone)]
pub(crate) struct Expectation {
    pub(crate) issuer: Issuer,
    pub(crate) audience: Audience,
    pub(crate) leeway: Duration,
}

/// The claims of a token that obeys the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `sub`: who acts.
    pub subject: ActorId,
    /// `client_id` names the subject itself: a program, not a person (RFC 9068 section 2.2).
    pub own_client: bool,
    /// `tenant`: for which tenant.
    pub tenant: Option<TenantId>,
    /// `roles`, as RFC 9068 section 2.2.3.1 takes them from SCIM; at most 64.
    pub roles: Vec<Box<str>>,
    /// `amr`: methods of authentication (RFC 8176); at most 16.
    pub methods: Vec<Box<str>>,
    /// `auth_time`: when the person last proved a factor.
    pub authenticated: Option<Timestamp>,
    /// `exp`.
    pub expires: Timestamp,
    /// `nbf`.
    pub not_before: Option<Timestamp>,
}

impl Claims {
    /// Reads `members` and applies the rules at `now`.
    pub(crate) fn check(
        members: &BTreeMap<String, Json>,
        expect: &Expectation,
        now: Timestamp,
    ) -> Result<Self, Reject> {
        check_issuer(members, &expect.issuer)?;
        check_audience(members, &expect.audience)?;
        let (expires, not_before) = check_time(members, expect.leeway, now)?;
        let subject = members
            .get("sub")
            .and_then(Json::as_text)
            .and_then(|subject| ActorId::new(subject).ok())
            .ok_or(Reject::Subject)?;
        let tenant = match members.get("tenant") {
            None => None,
            Some(tenant) => {
                let tenant = tenant.as_text().and_then(TenantId::parse);
                Some(tenant.ok_or(Reject::Tenant)?)
            }
        };
        let authenticated = instant(members, "auth_time").map_err(|()| Reject::AuthTime)?;
        if authenticated.is_some_and(|at| at > now.plus(expect.leeway)) {
            return Err(Reject::AuthTime);
        }
        let client = members.get("client_id").and_then(Json::as_text);
        Ok(Self {
            own_client: client == Some(subject.as_str()),
            subject,
            tenant,
            roles: names(members, "roles", MAX_ROLES).ok_or(Reject::Roles)?,
            methods: names(members, "amr", MAX_METHODS).ok_or(Reject::Amr)?,
            authenticated,
            expires,
            not_before,
        })
    }
}

fn check_issuer(members: &BTreeMap<String, Json>, expected: &Issuer) -> Result<(), Reject> {
    let issuer = members
        .get("iss")
        .and_then(Json::as_text)
        .ok_or(Reject::IssuerMissing)?;
    if issuer == expected.as_str() {
        Ok(())
    } else {
        Err(Reject::Issuer)
    }
}

fn check_audience(members: &BTreeMap<String, Json>, expected: &Audience) -> Result<(), Reject> {
    let audience = members.get("aud").ok_or(Reject::AudienceMissing)?;
    let named = match audience {
        Json::Text(one) => one == expected.as_str(),
        several => {
            let several = several.as_texts().ok_or(Reject::AudienceMissing)?;
            several.len() <= MAX_AUDIENCES && several.contains(&expected.as_str())
        }
    };
    if named { Ok(()) } else { Err(Reject::Audience) }
}

fn check_time(
    members: &BTreeMap<String, Json>,
    leeway: Duration,
    now: Timestamp,
) -> Result<(Timestamp, Option<Timestamp>), Reject> {
    let expires = instant(members, "exp")
        .ok()
        .flatten()
        .ok_or(Reject::ExpiryMissing)?;
    if !in_time(expires, leeway, now) {
        return Err(Reject::Expired);
    }
    let not_before = instant(members, "nbf").map_err(|()| Reject::NotBeforeMalformed)?;
    if not_before.is_some_and(|at| !begun(at, leeway, now)) {
        return Err(Reject::NotYet);
    }
    let issued = instant(members, "iat").map_err(|()| Reject::IssuedAtMalformed)?;
    if issued.is_some_and(|at| !begun(at, leeway, now)) {
        return Err(Reject::IssuedInFuture);
    }
    Ok((expires, not_before))
}

/// RFC 7519 section 4.1.4: the present must be before `exp`.
pub(crate) fn in_time(expires: Timestamp, leeway: Duration, now: Timestamp) -> bool {
    now < expires.plus(leeway)
}

/// RFC 7519 section 4.1.5: the present must be `nbf` or later.
pub(crate) fn begun(not_before: Timestamp, leeway: Duration, now: Timestamp) -> bool {
    now >= not_before.minus(leeway)
}

// A NumericDate may have a fraction (RFC 7519 section 2); it is dropped.
fn instant(members: &BTreeMap<String, Json>, name: &str) -> Result<Option<Timestamp>, ()> {
    let seconds = match members.get(name) {
        None => return Ok(None),
        Some(Json::Integer(seconds)) => *seconds,
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked against the range first"
        )]
        Some(Json::Real(seconds)) if (0.0..=7_258_118_399.0).contains(seconds) => *seconds as i64,
        Some(_) => return Err(()),
    };
    if (0..=LATEST).contains(&seconds) {
        Ok(Some(Timestamp::from_seconds(seconds)))
    } else {
        Err(())
    }
}

fn names(members: &BTreeMap<String, Json>, name: &str, most: usize) -> Option<Vec<Box<str>>> {
    let Some(found) = members.get(name) else {
        return Some(Vec::new());
    };
    let found = found.as_texts().filter(|found| found.len() <= most)?;
    found
        .into_iter()
        .map(|name| Code::new(name).ok().map(|_| name.into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn check_at(claims: &str, now: i64) -> Result<Claims, Reject> {
        let expect = Expectation {
            issuer: Issuer::new("https://idp").unwrap(),
            audience: Audience::new("us").unwrap(),
            leeway: Duration::from_secs(30),
        };
        let members = Json::parse_object(claims.as_bytes(), 4096).unwrap();
        Claims::check(&members, &expect, Timestamp::from_seconds(now))
    }

    fn check(more: &str) -> Result<Claims, Reject> {
        check_at(
            &format!(
                r#"{{"iss":"https://idp","aud":"us","exp":{},"sub":"ada"{more}}}"#,
                NOW + 60
            ),
            NOW,
        )
    }

    #[test]
    fn a_claim_of_the_wrong_type_is_refused_and_not_taken_as_absent() {
        for (claims, reject) in [
            (r#"{"aud":"us","exp":1,"sub":"a"}"#, Reject::IssuerMissing),
            (r#"{"iss":{},"aud":"us"}"#, Reject::IssuerMissing),
            (
                r#"{"iss":["https://idp","x"],"aud":"us"}"#,
                Reject::IssuerMissing,
            ),
            (r#"{"iss":"https://idp/","aud":"us"}"#, Reject::Issuer),
            (r#"{"iss":"https://idp"}"#, Reject::AudienceMissing),
            (r#"{"iss":"https://idp","aud":7}"#, Reject::AudienceMissing),
            (
                r#"{"iss":"https://idp","aud":null}"#,
                Reject::AudienceMissing,
            ),
            (
                r#"{"iss":"https://idp","aud":["us",7]}"#,
                Reject::AudienceMissing,
            ),
            (r#"{"iss":"https://idp","aud":[]}"#, Reject::Audience),
            (r#"{"iss":"https://idp","aud":"them"}"#, Reject::Audience),
            (r#"{"iss":"https://idp","aud":["them"]}"#, Reject::Audience),
            (r#"{"iss":"https://idp","aud":"us"}"#, Reject::ExpiryMissing),
            (
                r#"{"iss":"https://idp","aud":"us","exp":"9999999999"}"#,
                Reject::ExpiryMissing,
            ),
            (
                r#"{"iss":"https://idp","aud":"us","exp":1e19}"#,
                Reject::ExpiryMissing,
            ),
            (
                r#"{"iss":"https://idp","aud":"us","exp":-1}"#,
                Reject::ExpiryMissing,
            ),
        ] {
            assert_eq!(check_at(claims, NOW).unwrap_err(), reject, "{claims}");
        }
        for (more, reject) in [
            (r#","nbf":"0""#, Reject::NotBeforeMalformed),
            (r#","iat":null"#, Reject::IssuedAtMalformed),
            (r#","tenant":"not-a-uuid""#, Reject::Tenant),
            (r#","tenant":null"#, Reject::Tenant),
            (r#","roles":"admin""#, Reject::Roles),
            (r#","roles":["a b"]"#, Reject::Roles),
            (r#","amr":[1]"#, Reject::Amr),
            (r#","auth_time":true"#, Reject::AuthTime),
        ] {
            assert_eq!(check(more).unwrap_err(), reject, "{more}");
        }
    }

    #[test]
    fn the_edges_of_time_lie_where_the_rfc_puts_them() {
        let at = |exp: i64| {
            check_at(
                &format!(r#"{{"iss":"https://idp","aud":["x","us"],"exp":{exp},"sub":"a"}}"#),
                NOW,
            )
        };
        assert!(at(NOW - 29).is_ok());
        assert_eq!(at(NOW - 30).unwrap_err(), Reject::Expired);
        for (more, verdict) in [
            (format!(r#","nbf":{}"#, NOW + 30), None),
            (format!(r#","nbf":{}"#, NOW + 31), Some(Reject::NotYet)),
            (format!(r#","iat":{}"#, NOW + 30), None),
            (
                format!(r#","iat":{}"#, NOW + 31),
                Some(Reject::IssuedInFuture),
            ),
            (format!(r#","iat":{NOW}.5"#), None),
            (
                format!(r#","auth_time":{}"#, NOW + 31),
                Some(Reject::AuthTime),
            ),
        ] {
            assert_eq!(check(&more).err(), verdict, "{more}");
        }
    }

    #[test]
    fn a_program_is_told_from_a_person() {
        assert!(check(r#","client_id":"ada""#).unwrap().own_client);
        assert!(!check(r#","client_id":"portal""#).unwrap().own_client);
    }
}
