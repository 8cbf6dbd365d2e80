//! Settings of a root key in an HSM, with their bounds.

use std::path::PathBuf;

use eonpro_core::secret::SecretText;
use eonpro_encryption::CryptoError;

/// The most sessions that one root key may keep open.
pub const MAX_SESSIONS: usize = 64;

/// Where a root key is, and how it is reached.
#[derive(Debug, Clone)]
pub struct Pkcs11Config {
    /// The vendor's PKCS #11 module: an absolute path. Its code runs in this process.
    pub module: PathBuf,
    /// The label of the token, 1 to 32 bytes (PKCS #11 pads it with blanks). Found anew whenever a
    /// session is opened, so slots may change their numbers. One token must have it.
    pub token: String,
    /// The PIN of the token's user, 1 to 255 bytes.
    pub pin: SecretText,
    /// The label of the root key object: 1 to 64 characters of `a-z 0-9 . _ -`.
    pub key: String,
    /// How many sessions are open at one time: 1 to [`MAX_SESSIONS`]. Further calls wait.
    pub max_sessions: usize,
    /// Whether calls into the module take turns, over all root keys of the process that ask for it;
    /// then one session is in use at a time, whatever [`Self::max_sessions`] says.
    /// On by default, because modules are seldom as safe for threads as they claim. Turn it off for
    /// an HSM that is known to stand concurrency, on every root key of that module.
    pub serialize: bool,
}

impl Pkcs11Config {
    /// Defaults with that PIN; module, token and key must still be named.
    #[must_use]
    pub fn with_pin(pin: SecretText) -> Self {
        Self {
            pin,
            ..Self::default()
        }
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// [`CryptoError::Config`] naming the setting.
    pub fn check(&self) -> Result<(), CryptoError> {
        let in_name = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        let key = (1..=64).contains(&self.key.len()) && self.key.bytes().all(in_name);
        let rules = [
            (self.module.is_absolute(), "module as an absolute path"),
            (
                (1..=32).contains(&self.token.len()) && self.token.trim() == self.token,
                "token label of 1 to 32 bytes",
            ),
            (
                (1..=255).contains(&self.pin.expose().len()),
                "pin of 1 to 255 bytes",
            ),
            (key, "key label of 1 to 64 characters of a-z 0-9 . _ -"),
            (
                (1..=MAX_SESSIONS).contains(&self.max_sessions),
                "max_sessions of 1 to 64",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(CryptoError::Config(rule)),
            None => Ok(()),
        }
    }
}

impl Default for Pkcs11Config {
    /// Names no module, token, key or PIN, which [`Self::check`] refuses.
    fn default() -> Self {
        Self {
            module: PathBuf::new(),
            token: String::new(),
            pin: SecretText::new(String::new()),
            key: String::new(),
            max_sessions: 8,
            serialize: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Pkcs11Config {
        Pkcs11Config {
            module: "/m.so".into(),
            token: "token".to_owned(),
            key: "root-1".to_owned(),
            ..Pkcs11Config::with_pin(SecretText::new("1234".to_owned()))
        }
    }

    #[test]
    fn a_setting_out_of_bounds_is_named() {
        assert!(good().check().is_ok());
        type Change = fn(&mut Pkcs11Config);
        let changes: [(&str, Change); 10] = [
            ("module", |config| config.module = "m.so".into()),
            ("token", |config| config.token = String::new()),
            ("token", |config| config.token = "x".repeat(33)),
            ("token", |config| config.token = "padded ".to_owned()),
            ("pin", |config| config.pin = SecretText::new(String::new())),
            ("pin", |config| {
                config.pin = SecretText::new("1".repeat(256))
            }),
            ("key", |config| config.key = "a/b".to_owned()),
            ("key", |config| config.key = "x".repeat(65)),
            ("max_sessions", |config| config.max_sessions = 0),
            ("max_sessions", |config| config.max_sessions = 65),
        ];
        for (setting, change) in changes {
            let mut config = good();
            change(&mut config);
            match config.check() {
                Err(CryptoError::Config(named)) => assert!(named.starts_with(setting), "{named}"),
                other => panic!("{setting}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_configuration_prints_no_pin() {
        assert!(!format!("{:?}", good()).contains("1234"));
    }
}
