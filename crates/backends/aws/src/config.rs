//! Settings of a [`KmsRoot`](crate::KmsRoot), with their bounds.

use std::time::Duration;

use eonpro_encryption::{CryptoError, RootKeyId};

/// The shortest time, in days, that KMS waits before it destroys a key.
pub const MIN_DELETION_DAYS: u8 = 7;

/// The longest.
pub const MAX_DELETION_DAYS: u8 = 30;

/// What the ids of our keys begin with.
const SCHEME: &str = "kms:";

/// Settings of a [`KmsRoot`](crate::KmsRoot). `region` and `key` have no default and must be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KmsConfig {
    /// The region whose KMS is asked, such as `eu-central-1`.
    pub region: String,
    /// The symmetric key for encryption that is the root: its id, or its ARN if it lies in another
    /// account. No alias: an alias can be pointed at another key, which opens nothing of what the
    /// first one wrapped.
    pub key: String,
    /// Another address than the region's own: `https://host`, or `http://` to this machine by
    /// number. A host outside of Amazon's domains makes the root fit for tests only.
    pub endpoint: Option<String>,
    /// How long a connection may take to be made. At most `attempt_timeout`.
    pub connect_timeout: Duration,
    /// How long one attempt may take. At most `operation_timeout`.
    pub attempt_timeout: Duration,
    /// How long an operation may take with all its attempts and the pauses between them; also how
    /// long it may wait for its turn. 1 ms to 5 minutes.
    pub operation_timeout: Duration,
    /// How often an operation is attempted in all. 1 to 10.
    pub attempts: u32,
    /// How many operations may be under way at one time; others wait for their turn. 1 to 1,024.
    pub max_in_flight: usize,
    /// How many days KMS keeps a destroyed epoch key, disabled. 7 to 30.
    pub deletion_days: u8,
}

impl Default for KmsConfig {
    fn default() -> Self {
        Self {
            region: String::new(),
            key: String::new(),
            endpoint: None,
            connect_timeout: Duration::from_secs(2),
            attempt_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(15),
            attempts: 4,
            max_in_flight: 64,
            deletion_days: MIN_DELETION_DAYS,
        }
    }
}

impl KmsConfig {
    /// Checks the bounds.
    ///
    /// # Errors
    /// [`CryptoError::Config`] naming the setting.
    pub fn check(&self) -> Result<(), CryptoError> {
        let whole = Duration::from_millis(1)..=Duration::from_secs(300);
        let days = MIN_DELETION_DAYS..=MAX_DELETION_DAYS;
        let rules = [
            (is_region(&self.region), "region such as eu-central-1"),
            (
                whole.contains(&self.operation_timeout),
                "operation_timeout of 1 ms to 5 min",
            ),
            (
                !self.attempt_timeout.is_zero() && self.attempt_timeout <= self.operation_timeout,
                "attempt_timeout within operation_timeout",
            ),
            (
                !self.connect_timeout.is_zero() && self.connect_timeout <= self.attempt_timeout,
                "connect_timeout within attempt_timeout",
            ),
            ((1..=10).contains(&self.attempts), "attempts of 1 to 10"),
            (
                (1..=1024).contains(&self.max_in_flight),
                "max_in_flight of 1 to 1024",
            ),
            (
                days.contains(&self.deletion_days),
                "deletion_days of 7 to 30",
            ),
        ];
        if let Some((_, rule)) = rules.iter().find(|(holds, _)| !holds) {
            return Err(CryptoError::Config(rule));
        }
        self.root_id().map(drop)
    }

    /// The name of the root key: `kms:` and the key's id, which is the same in every region that a
    /// multi-region key was replicated to.
    pub(crate) fn root_id(&self) -> Result<RootKeyId, CryptoError> {
        let rule = CryptoError::Config("key that is a key id or the ARN of one, no alias");
        let id = match self.key.strip_prefix("arn:") {
            None => self.key.as_str(),
            Some(arn) => {
                let parts: Vec<&str> = arn.split(':').collect();
                let [_partition, "kms", region, account, resource] = parts.as_slice() else {
                    return Err(rule);
                };
                if *region != self.region {
                    return Err(CryptoError::Config("key in the configured region"));
                }
                let id = resource.strip_prefix("key/");
                let known = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
                match id {
                    Some(id) if known => id,
                    _ => return Err(rule),
                }
            }
        };
        if !is_key_id(id) {
            return Err(rule);
        }
        RootKeyId::new(&format!("{SCHEME}{id}")).ok_or(rule)
    }
}

/// The name of the key with this id, as the ids of roots and epochs hold it.
pub(crate) fn name_of(key_id: &str) -> String {
    format!("{SCHEME}{key_id}")
}

/// The id of the key that `name` names; `None` if it was not made by [`name_of`].
pub(crate) fn key_id_in(name: &str) -> Option<&str> {
    name.strip_prefix(SCHEME).filter(|id| is_key_id(id))
}

/// A UUID, or `mrk-` and hexadecimal digits: in any case small letters, digits and dashes.
fn is_key_id(id: &str) -> bool {
    (1..=60).contains(&id.len())
        && id
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// It becomes part of a host name.
fn is_region(region: &str) -> bool {
    (1..=32).contains(&region.len())
        && region
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

    fn config(key: &str) -> KmsConfig {
        KmsConfig {
            region: "us-gov-east-1".to_owned(),
            key: key.to_owned(),
            ..KmsConfig::default()
        }
    }

    #[test]
    fn a_root_is_named_by_its_key_id_however_it_was_configured() {
        let arn = format!("arn:aws-us-gov:kms:us-gov-east-1:111122223333:key/{ID}");
        for key in [ID, &arn] {
            let id = config(key).root_id().unwrap();
            assert_eq!(id.as_str(), format!("kms:{ID}"));
        }
        let replica = config("mrk-1234abcd12ab34cd56ef1234567890ab");
        assert!(replica.check().is_ok());
    }

    #[test]
    fn what_is_no_key_of_this_region_is_refused() {
        for bad in [
            "",
            "alias/root",
            "arn:aws:kms:us-gov-east-1:111122223333:alias/root",
            "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:s3:us-gov-east-1:111122223333:key/1234abcd",
            "arn:aws:kms:us-gov-east-1:1111:key/1234abcd",
            "arn:aws:kms:us-gov-east-1:111122223333:key/",
            "1234ABCD",
            "1234/abcd",
        ] {
            let refused = config(bad).check();
            assert!(matches!(refused, Err(CryptoError::Config(_))), "{bad}");
        }
    }

    #[test]
    fn a_setting_out_of_bounds_is_named() {
        type Change = fn(&mut KmsConfig);
        let changes: [(&str, Change); 11] = [
            ("region", |config| config.region.clear()),
            ("region", |config| config.region = "evil.example".to_owned()),
            ("operation_timeout", |config| {
                config.operation_timeout = Duration::ZERO
            }),
            ("operation_timeout", |config| {
                config.operation_timeout = Duration::from_secs(301)
            }),
            ("attempt_timeout", |config| {
                config.attempt_timeout = Duration::from_secs(16)
            }),
            ("attempt_timeout", |config| {
                config.attempt_timeout = Duration::ZERO
            }),
            ("connect_timeout", |config| {
                config.connect_timeout = Duration::from_secs(6)
            }),
            ("attempts", |config| config.attempts = 0),
            ("max_in_flight", |config| config.max_in_flight = 0),
            ("deletion_days", |config| config.deletion_days = 6),
            ("deletion_days", |config| config.deletion_days = 31),
        ];
        assert!(config(ID).check().is_ok());
        for (setting, change) in changes {
            let mut config = config(ID);
            change(&mut config);
            let refused = config.check();
            let Err(CryptoError::Config(rule)) = refused else {
                panic!("{setting}: {refused:?}");
            };
            assert!(rule.starts_with(setting), "{setting}: {rule}");
        }
    }

    #[test]
    fn only_names_of_ours_name_a_key() {
        assert_eq!(key_id_in(&name_of(ID)), Some(ID));
        for foreign in ["", "kms:", ID, "kms:alias/root", "kms:a:b", "keyring:0123"] {
            assert_eq!(key_id_in(foreign), None, "{foreign}");
        }
    }
}
