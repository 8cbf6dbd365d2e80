//! Time-based one-time passwords (RFC 6238): 6 digits, 30-second steps, one step of leeway.
//!
//! Pure: the matched step comes back so that the caller can refuse it a second time. The codes
//! themselves are totp-rs's. HMAC-SHA-1 is what authenticator apps understand; its collisions do
//! not matter here (RFC 4226 appendix B.2).

use std::fmt;

use eonpro_core::error::Source;
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::time::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use totp_rs::{Algorithm, Builder, Secret, Totp};

use crate::error::AuthError;

/// The secret's length in bytes, as RFC 4226 section 4 recommends.
pub(crate) const SECRET_BYTES: usize = 20;
const STEP_SECONDS: u64 = 30;
const SKEW_STEPS: u16 = 1;
const DIGITS: u8 = 6;

/// A secret shared with an actor's authenticator.
pub(crate) struct TotpSecret(KeyBytes<SECRET_BYTES>);

impl TotpSecret {
    /// A fresh secret.
    pub(crate) fn generate() -> Result<Self, AuthError> {
        let mut bytes = [0; SECRET_BYTES];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| AuthError::Primitive("no randomness".into()))?;
        Ok(Self(KeyBytes::take(&mut bytes)))
    }

    /// The secret of these bytes; `None` if the length is wrong.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        KeyBytes::copy_from(bytes).map(Self)
    }

    /// The bytes, to be sealed.
    pub(crate) fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// The step for which `code` is right at `now`, one step of leeway either way.
    pub(crate) fn check(&self, code: &str, now: Timestamp) -> Result<Option<u64>, AuthError> {
        let seconds = u64::try_from(now.seconds()).unwrap_or(0);
        Ok(self.totp()?.check(code, seconds))
    }

    fn totp(&self) -> Result<Totp, AuthError> {
        Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(DIGITS)
            .with_skew(SKEW_STEPS)
            .with_step_duration(STEP_SECONDS)
            .with_secret(Secret::new_stack(*self.0.expose()))
            .build()
            .map_err(|error| AuthError::Primitive(Source::from(error.to_string())))
    }
}

/// What an actor needs to set an authenticator up. Shown once.
pub struct TotpEnrolment {
    secret: TotpSecret,
    account: Box<str>,
}

impl TotpEnrolment {
    pub(crate) fn new(secret: TotpSecret, account: &str) -> Self {
        Self {
            secret,
            account: account.into(),
        }
    }

    /// The secret in base32, for typing.
    #[must_use]
    pub fn base32(&self) -> SecretText {
        SecretText::new(Secret::new_stack(*self.secret.0.expose()).to_base32())
    }

    /// The `otpauth` URI, for a QR code, naming `service` as issuer. Characters that a URI would
    /// have to escape are left out of both names.
    #[must_use]
    pub fn uri(&self, service: &str) -> SecretText {
        let plain = |text: &str| -> String {
            text.chars()
                .filter(|letter| {
                    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_' | '@')
                })
                .collect()
        };
        let (service, account) = (plain(service), plain(&self.account));
        SecretText::new(format!(
            "otpauth://totp/{service}:{account}?secret={}&issuer={service}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}",
            self.base32().expose(),
        ))
    }

    /// The code that an authenticator shows at `at`: for examples and tests, which have no phone.
    ///
    /// # Errors
    /// [`AuthError::Primitive`] never happens with a secret of this length.
    pub fn code_at(&self, at: Timestamp) -> Result<SecretText, AuthError> {
        let seconds = u64::try_from(at.seconds()).unwrap_or(0);
        Ok(SecretText::new(
            self.secret.totp()?.generate(seconds).to_string(),
        ))
    }
}

impl fmt::Debug for TotpEnrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpEnrolment([SECRET])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rfc_secret() -> TotpSecret {
        TotpSecret::from_bytes(b"12345678901234567890").unwrap()
    }

    #[test]
    fn the_codes_are_those_of_the_rfc() {
        // RFC 6238 appendix B, SHA1, the last six of eight digits.
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
        ] {
            let at = Timestamp::EPOCH.plus(std::time::Duration::from_secs(seconds));
            let step = rfc_secret().check(code, at).unwrap();
            assert_eq!(step, Some(seconds / 30));
        }
    }

    #[test]
    fn the_window_is_one_step_either_way() {
        let step = 1_234_567_890 / 30;
        let code = "005924";
        for (offset, accepted) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            let now = Timestamp::from_seconds((step + offset) * 30);
            let found = rfc_secret().check(code, now).unwrap();
            assert_eq!(found.is_some(), accepted, "{offset}");
        }
    }

    #[test]
    fn only_six_digits_are_a_code() {
        let now = Timestamp::from_seconds(1_234_567_890);
        for text in [
            "",
            "5924",
            "+05924",
            " 05924",
            "0059240",
            "00592a",
            "００５９２４",
        ] {
            assert_eq!(rfc_secret().check(text, now).unwrap(), None, "{text:?}");
        }
    }

    #[test]
    fn an_enrolment_shows_its_secret_only_when_asked() {
        let enrolment = TotpEnrolment::new(rfc_secret(), "dr.grey");
        assert_eq!(format!("{enrolment:?}"), "TotpEnrolment([SECRET])");
        let base32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        assert_eq!(enrolment.base32().expose(), base32);
        let uri = enrolment.uri("Clinic & Co");
        assert!(
            uri.expose()
                .starts_with("otpauth://totp/ClinicCo:dr.grey?secret=GEZD")
        );
        let at = Timestamp::from_seconds(59);
        assert_eq!(enrolment.code_at(at).unwrap().expose(), "287082");
    }
}
