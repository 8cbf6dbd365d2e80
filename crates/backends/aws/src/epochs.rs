//! Shred epochs as keys of their own in KMS, found again by a tag.

use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kms::types::{KeyMetadata, KeySpec, KeyState, KeyUsageType, Tag};
use eonpro_core::secret::KeyBytes;
use eonpro_core::time::Timestamp;
use eonpro_encryption::{CryptoError, Destruction, EpochId, EpochKeys, WrapContext};

use crate::config::{key_id_in, name_of};
use crate::failure::{KmsFailure, Verdict};
use crate::root::KmsRoot;
use crate::wire;

/// The tag of an epoch key; its value is the id of the root whose epoch it is.
pub const EPOCHS_TAG: &str = "eonpro:epochs-of";

/// How often a new key is looked for until all of KMS knows it, with a pause that doubles.
const LOOKS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The most that KMS gives in one page.
const PAGE: i32 = 1000;
const TAG_PAGE: i32 = 50;

/// What KMS knows about an epoch key.
enum Standing {
    Gone,
    Foreign,
    Scheduled(Timestamp),
    Usable,
}

impl KmsRoot {
    fn is_destroyed(&self, epoch: &EpochId) -> bool {
        let destroyed = self.destroyed.lock();
        destroyed
            .unwrap_or_else(PoisonError::into_inner)
            .contains(epoch)
    }

    fn remember_destroyed(&self, epoch: &EpochId) {
        let destroyed = self.destroyed.lock();
        destroyed
            .unwrap_or_else(PoisonError::into_inner)
            .insert(epoch.clone());
    }

    /// The id of the key behind `epoch`, if it may still be used.
    fn key_of<'a>(&self, epoch: &'a EpochId) -> Result<&'a str, CryptoError> {
        key_id_in(epoch.as_str())
            .filter(|_| !self.is_destroyed(epoch))
            .ok_or(CryptoError::EpochGone)
    }

    /// A key that is disabled may be enabled again, unless we disabled it to destroy it.
    fn of_epoch(&self, epoch: &EpochId, failure: KmsFailure) -> CryptoError {
        if failure.verdict() == Verdict::Disabled && self.is_destroyed(epoch) {
            return CryptoError::EpochGone;
        }
        failure.of_epoch()
    }

    /// Returns once KMS lets the new key be used: it may deny for a while that there is one.
    async fn await_usable(&self, key: &str) -> Result<(), KmsFailure> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..LOOKS {
            match self.describe(key).await {
                Ok(about) if about.key_state == Some(KeyState::Enabled) => return Ok(()),
                Err(failure) if failure.verdict() != Verdict::Missing => return Err(failure),
                Ok(_) | Err(_) => {}
            }
            let clock = &self.kms.clock;
            clock.sleep_until(clock.monotonic().plus(pause)).await;
            pause = pause.saturating_mul(2);
        }
        Err(KmsFailure::rule(
            "CreateKey",
            "gave a key that does not become usable",
        ))
    }

    /// Whether the key is tagged as an epoch of this root.
    async fn is_ours(&self, key: &str) -> Result<bool, KmsFailure> {
        let mut marker = None;
        loop {
            let call = self.kms.client.list_resource_tags();
            let call = call.key_id(key).limit(TAG_PAGE).set_marker(marker);
            let page = self.kms.call("ListResourceTags", call.send()).await?;
            let ours = |tag: &Tag| tag.tag_key == EPOCHS_TAG && tag.tag_value == self.id.as_str();
            if page.tags().iter().any(ours) {
                return Ok(true);
            }
            if !page.truncated || page.next_marker.is_none() {
                return Ok(false);
            }
            marker = page.next_marker;
        }
    }

    async fn standing(&self, key: &str) -> Result<Standing, KmsFailure> {
        let about = match self.describe(key).await {
            Err(failure) if failure.verdict() == Verdict::Missing => return Ok(Standing::Gone),
            other => other?,
        };
        match self.is_ours(key).await {
            Ok(true) => {}
            Ok(false) => return Ok(Standing::Foreign),
            Err(failure) if failure.verdict() == Verdict::Missing => return Ok(Standing::Gone),
            Err(failure) => return Err(failure),
        }
        match about.key_state {
            Some(KeyState::PendingDeletion) => Ok(Standing::Scheduled(deletion(&about)?)),
            _ => Ok(Standing::Usable),
        }
    }

    /// Disables the key, then has it destroyed. Both steps may be done already.
    async fn destroy_key(&self, key: &str) -> Result<Destruction, KmsFailure> {
        let disable = self.kms.client.disable_key().key_id(key);
        match self.kms.call("DisableKey", disable.send()).await {
            Ok(_) => {}
            Err(failure) => match failure.verdict() {
                Verdict::Missing => return Ok(Destruction::Done),
                Verdict::Disabled | Verdict::Ending => {}
                _ => return Err(failure),
            },
        }
        let schedule = self.kms.client.schedule_key_deletion();
        let schedule = schedule
            .key_id(key)
            .pending_window_in_days(i32::from(self.deletion_days));
        match self.kms.call("ScheduleKeyDeletion", schedule.send()).await {
            Ok(answer) => {
                let at = answer.deletion_date.and_then(|at| timestamp(&at));
                let at = at.ok_or_else(|| KmsFailure::garbled("ScheduleKeyDeletion"))?;
                Ok(Destruction::Scheduled { at })
            }
            Err(failure) => match failure.verdict() {
                Verdict::Missing => Ok(Destruction::Done),
                // Somebody else was first.
                Verdict::Disabled | Verdict::Ending => match self.standing(key).await? {
                    Standing::Gone => Ok(Destruction::Done),
                    Standing::Scheduled(at) => Ok(Destruction::Scheduled { at }),
                    Standing::Foreign | Standing::Usable => Err(failure),
                },
                _ => Err(failure),
            },
        }
    }

    /// The ids of all keys that this account has in the region.
    async fn all_keys(&self) -> Result<Vec<String>, KmsFailure> {
        let mut keys = Vec::new();
        let mut marker = None;
        loop {
            let call = self.kms.client.list_keys().limit(PAGE).set_marker(marker);
            let page = self.kms.call("ListKeys", call.send()).await?;
            let ids = page.keys.unwrap_or_default();
            keys.extend(ids.into_iter().filter_map(|entry| entry.key_id));
            if !page.truncated || page.next_marker.is_none() {
                return Ok(keys);
            }
            marker = page.next_marker;
        }
    }

    /// Whether `key` is an epoch of this root that wraps and unwraps.
    async fn is_live(&self, key: &str) -> Result<bool, KmsFailure> {
        match self.is_ours(key).await {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(failure) => match failure.verdict() {
                // Keys of others, whose policy does not let us look, and keys that just went.
                Verdict::Denied | Verdict::Missing => return Ok(false),
                _ => return Err(failure),
            },
        }
        match self.describe(key).await {
            Ok(about) => Ok(about.key_state == Some(KeyState::Enabled)),
            Err(failure) if failure.verdict() == Verdict::Missing => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

#[async_trait]
impl EpochKeys for KmsRoot {
    fn custody_id(&self) -> &str {
        self.id.as_str()
    }

    async fn create(&self) -> Result<EpochId, CryptoError> {
        let tag = Tag::builder()
            .tag_key(EPOCHS_TAG)
            .tag_value(self.id.as_str())
            .build()
            .map_err(|_| CryptoError::Config("tag of epoch keys"))?;
        let call = self.kms.client.create_key();
        let call = call
            .key_spec(KeySpec::SymmetricDefault)
            .key_usage(KeyUsageType::EncryptDecrypt)
            .description(format!("eonpro: shred epoch of {}", self.id))
            .tags(tag);
        let answer = self.kms.call("CreateKey", call.send()).await;
        let about = answer.map_err(KmsFailure::of_root)?.key_metadata;
        let key = about
            .map(|about| about.key_id)
            .ok_or_else(|| KmsFailure::garbled("CreateKey").of_root())?;
        let epoch = EpochId::new(&name_of(&key))
            .ok_or_else(|| KmsFailure::garbled("CreateKey").of_root())?;
        self.await_usable(&key).await.map_err(KmsFailure::of_root)?;
        Ok(epoch)
    }

    async fn wrap(
        &self,
        epoch: &EpochId,
        key: &KeyBytes<32>,
        context: &WrapContext,
    ) -> Result<Vec<u8>, CryptoError> {
        let id = self.key_of(epoch)?;
        let pairs = self.context(context, Some(epoch));
        self.encrypt(id, key, pairs)
            .await
            .map_err(|failure| self.of_epoch(epoch, failure))
    }

    async fn unwrap(
        &self,
        epoch: &EpochId,
        wrapped: &[u8],
        context: &WrapContext,
    ) -> Result<KeyBytes<32>, CryptoError> {
        let id = self.key_of(epoch)?;
        let blob = wire::decode(wrapped).ok_or(CryptoError::RootMismatch)?;
        let pairs = self.context(context, Some(epoch));
        let key = self.decrypt(id, blob, pairs).await;
        key.map_err(|failure| self.of_epoch(epoch, failure))?
            .ok_or(CryptoError::RootMismatch)
    }

    /// Disables the key and has KMS destroy it after the configured days.
    ///
    /// An epoch that KMS does not know counts as gone only while the root key of the same account and region
    /// is seen. This root refuses the epoch from then on. KMS is eventually consistent: one of its servers may
    /// let *another* process use the key for a few seconds, and says so itself.
    async fn destroy(&self, epoch: &EpochId) -> Result<Destruction, CryptoError> {
        let key = key_id_in(epoch.as_str()).ok_or(CryptoError::ForeignCustody)?;
        let standing = self.standing(key).await.map_err(KmsFailure::of_root)?;
        let destruction = match standing {
            // Another account, or another region, does not have it either.
            Standing::Gone => match self.describe(&self.key).await {
                Ok(_) => Destruction::Done,
                Err(failure) => return Err(failure.of_root()),
            },
            Standing::Scheduled(at) => Destruction::Scheduled { at },
            // Never by a mistaken id: it may be the root key.
            Standing::Foreign => {
                let what = "refused by us: the key is not tagged as an epoch of this root";
                return Err(KmsFailure::rule("DisableKey", what).of_root());
            }
            Standing::Usable => {
                // From here on it counts as gone, also while it is disabled and not yet scheduled.
                self.remember_destroyed(epoch);
                let destroyed = self.destroy_key(key).await;
                destroyed.map_err(KmsFailure::of_root)?
            }
        };
        // Only keys that KMS still has, so that made-up ids do not fill the memory.
        if matches!(destruction, Destruction::Scheduled { .. }) {
            self.remember_destroyed(epoch);
        }
        Ok(destruction)
    }

    async fn epochs(&self) -> Result<Vec<EpochId>, CryptoError> {
        let mut epochs = Vec::new();
        for key in self.all_keys().await.map_err(KmsFailure::of_root)? {
            let Some(epoch) = EpochId::new(&name_of(&key)) else {
                continue;
            };
            if self.is_destroyed(&epoch) {
                continue;
            }
            if self.is_live(&key).await.map_err(KmsFailure::of_root)? {
                epochs.push(epoch);
            }
        }
        Ok(epochs)
    }
}

/// When a key that is pending deletion goes.
fn deletion(about: &KeyMetadata) -> Result<Timestamp, KmsFailure> {
    about
        .deletion_date
        .and_then(|at| timestamp(&at))
        .ok_or_else(|| KmsFailure::garbled("DescribeKey"))
}

fn timestamp(at: &aws_sdk_kms::primitives::DateTime) -> Option<Timestamp> {
    let nanos = at.as_nanos();
    i64::try_from(nanos).ok().map(Timestamp::from_nanos)
}
