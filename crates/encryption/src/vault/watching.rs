//! How other processes hear of a shred: a notice in the system's partition, and who listens.
//!
//! One watch serves all tenants: a watch for each would make every commit of the store wake all of
//! them. A notice is a hint and never an authority. What counts is the record that it names, which the
//! listener reads again; so a notice that is lost costs time, until the end of a lease, and a forged one
//! costs a read.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use eonpro_core::id::SubjectId;
use eonpro_core::port::SealScope;
use eonpro_core::port::kv::{Change, KvError};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select, try_join_all};

use super::{Inner, Vault};
use crate::cache::Slot;
use crate::config::EncryptionConfig;
use crate::error::CryptoError;
use crate::keyset::ScopeRecord;
use crate::shred::{Notice, ShredTarget};
use crate::subject::{SubjectRecord, SubjectSlot};

/// How long the listener waits after the store failed.
const RETRY: Duration = Duration::from_secs(1);
/// How many records are read at one time when all are read again.
const AT_ONCE: usize = 16;

impl Vault {
    /// Listens for what other processes on the same key store destroy, until this vault is closed. Run
    /// it in a task of its own, once for each process:
    ///
    /// ```no_run
    /// # async fn run(vault: eonpro_encryption::Vault) {
    /// let listening = vault.clone();
    /// let _until_closed = eonpro_core::task::start(async move { listening.watch_shreds().await });
    /// # }
    /// ```
    ///
    /// From the moment at which a notice arrives nothing of a shredded tenant or patient opens in this
    /// process, nor anything under a data key that was put into a state that does not open, also by
    /// ciphers that are held. Without it that takes until the end of a lease. Notices are hints, which
    /// a store may deliver late or not at all: `cache_ttl` stays the worst case, and what a receipt
    /// states. After missed hints, and after a failure of the store, which is tried again each second,
    /// the record of everything at hand is read again.
    ///
    /// Cancel-safe: dropping the future ends the listening and nothing else.
    ///
    /// # Errors
    /// [`CryptoError::Store`] once the store answers that it is closed.
    pub async fn watch_shreds(&self) -> Result<(), CryptoError> {
        let mut closing = self.inner.closing.subscribe();
        let closed = pin!(closing.wait_for(|closed| *closed));
        let listening = pin!(self.inner.listen_for_ever());
        match select(closed, listening).await {
            Either::Left(_) => Ok(()),
            Either::Right((failure, _)) => Err(failure),
        }
    }
}

impl Inner {
    async fn listen_for_ever(&self) -> CryptoError {
        loop {
            match self.listen().await {
                Err(closed @ CryptoError::Store(KvError::Closed)) => return closed,
                Err(error) => tracing::warn!(%error, "notices of shreds cannot be heard"),
                // The watch ended; the store says why when it is asked for another.
                Ok(()) => {}
            }
            let clock = self.emitter.clock();
            clock.sleep_until(clock.monotonic().plus(RETRY)).await;
        }
    }

    async fn listen(&self) -> Result<(), CryptoError> {
        let mut notices = self.shreds.notices().await?;
        // What was destroyed before the watch began.
        self.look_at_all().await?;
        while let Some(change) = notices.next().await {
            match change {
                Change::Lagged => self.look_at_all().await?,
                Change::Key(key) => {
                    if let Some(notice) = Notice::of(&key) {
                        self.look_at(notice).await?;
                    }
                }
            }
        }
        Ok(())
    }

    async fn look_at(&self, notice: Notice) -> Result<(), CryptoError> {
        let meant = |scope: SealScope| scope.tenant() == notice.tenant;
        match notice.target {
            ShredTarget::Tenant => self.look_at_scopes(meant).await,
            ShredTarget::Subject(subject) => {
                let meant = |owner, one| one == subject && meant(owner);
                self.look_at_subjects(meant).await
            }
        }
    }

    /// Reads the records of all that is at hand.
    async fn look_at_all(&self) -> Result<(), CryptoError> {
        self.look_at_scopes(|_| true).await?;
        self.look_at_subjects(|_, _| true).await
    }

    async fn look_at_scopes(&self, meant: impl Fn(SealScope) -> bool) -> Result<(), CryptoError> {
        let scopes = self.cache.matching(&meant);
        let mut scopes: HashMap<_, _> = scopes.into_iter().collect();
        // Patients may be at hand whose tenant is not any more.
        for ((owner, _), _) in self.subjects.matching(|(owner, _)| meant(*owner)) {
            scopes
                .entry(owner)
                .or_insert_with(|| self.cache.slot(owner));
        }
        let scopes: Vec<_> = scopes.into_iter().collect();
        for some in scopes.chunks(AT_ONCE) {
            let looks = some.iter();
            try_join_all(looks.map(|(scope, slot)| self.look_at_scope(*scope, slot))).await?;
        }
        Ok(())
    }

    async fn look_at_subjects(
        &self,
        meant: impl Fn(SealScope, SubjectId) -> bool,
    ) -> Result<(), CryptoError> {
        let subjects = self
            .subjects
            .matching(|(owner, subject)| meant(*owner, *subject));
        for some in subjects.chunks(AT_ONCE) {
            let looks = some.iter();
            let looks =
                looks.map(|((scope, subject), slot)| self.look_at_subject(*scope, *subject, slot));
            try_join_all(looks).await?;
        }
        Ok(())
    }

    async fn look_at_scope(&self, scope: SealScope, slot: &Arc<Slot>) -> Result<(), CryptoError> {
        if slot.usable().is_err() {
            return Ok(());
        }
        // Whoever fetches the keys now may have read the record from before.
        let _gate = slot.gate.lock().await;
        match unless_malformed(self.keysets.find(scope).await)? {
            Some(Some((ScopeRecord::Shredded(_), _))) => {
                self.close_here(scope, ShredTarget::Tenant);
            }
            Some(Some((ScopeRecord::Live(keyset), version))) => {
                slot.states.learn(&keyset, version);
                self.replace_outdated(scope, slot);
            }
            Some(None) | None => {}
        }
        Ok(())
    }

    async fn look_at_subject(
        &self,
        scope: SealScope,
        subject: SubjectId,
        slot: &Arc<SubjectSlot>,
    ) -> Result<(), CryptoError> {
        if slot.usable().is_err() {
            return Ok(());
        }
        let _gate = slot.gate.lock().await;
        let found = unless_malformed(self.shreds.subject(scope, subject).await)?;
        let record = found.and_then(|found| found.value);
        if let Some(SubjectRecord::Shredded { .. }) = record {
            self.close_here(scope, ShredTarget::Subject(subject));
        }
        Ok(())
    }

    /// Tells the other processes to look at the target's records. After the commit: whoever hears of it
    /// must find it done. It is only a hint, so the change stands without it.
    pub(super) async fn tell_others(&self, scope: SealScope, target: ShredTarget) {
        let tenant = scope.tenant();
        let notice = Notice { tenant, target };
        // No lease that began before lasts longer.
        let expires = self
            .emitter
            .clock()
            .wall()
            .plus(EncryptionConfig::LONGEST_TTL);
        if let Err(error) = self.shreds.give_notice(notice, expires).await {
            tracing::warn!(%error, "other processes notice at the end of their leases only");
        }
    }
}

/// A record that cannot be read says nothing, and would say nothing in a second either.
fn unless_malformed<T>(found: Result<T, CryptoError>) -> Result<Option<T>, CryptoError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(failed @ CryptoError::Store(_)) => Err(failed),
        Err(_) => Ok(None),
    }
}
