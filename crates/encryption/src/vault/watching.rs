//! How other processes hear of a shred: a notice in the system's partition, and who listens.
//!
//! One watch serves all tenants: a watch for each would make every commit of the store wake all of
//! them. A notice is a hint and never an authority. What counts is the record that it names, which the
//! listener reads again; so a notice that is lost costs time, until the end of a lease, and a forged one
//! costs a read.

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::time::Duration;

use eonpro_core::id::SubjectId;
use eonpro_core::port::SealScope;
use eonpro_core::port::kv::{Change, KvError};
use eonpro_core::time::Monotonic;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;

use super::{Inner, Vault};
use crate::config::EncryptionConfig;
use crate::error::CryptoError;
use crate::keyset::ScopeRecord;
use crate::shred::{Notice, ShredTarget};
use crate::slots::Named as _;
use crate::subject::SubjectRecord;

/// How long the listener waits after the store failed.
const RETRY: Duration = Duration::from_secs(1);
/// How many records are read at one time.
const AT_ONCE: usize = 16;
/// How long one of them may take before it is read again later, so that no tenant's store holds up others.
const PATIENCE: Duration = Duration::from_secs(5);
/// The least pause before a record that could not be read is read again, and between two looks at
/// everything at hand: however often hints are missed, it costs no more.
const PAUSE: Duration = Duration::from_secs(5);

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
    /// Once the record that a notice names was read, nothing of a shredded tenant or patient opens in this
    /// process, nor anything under a data key that was put into a state that does not open, also by
    /// ciphers that are held, and by streams and records under way. That needs no root key. Only a
    /// [`DataKey`](eonpro_core::port::DataKey) that was handed out goes on although the key that wraps it was
    /// suspended or compromised, until its holder drops it; a shred ends it, too.
    ///
    /// Without a notice that takes until the end of a lease. Notices are hints, which
    /// a store may deliver late or not at all: `cache_ttl` stays the worst case, and what a receipt
    /// states. After missed hints, and after a failure of the store, which is tried again each second,
    /// the record of everything at hand is read again, at most once in five seconds. A record that cannot be
    /// read within five seconds is read again five seconds later, and holds up no other.
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

/// A record to be read: a scope's, or one of its patients'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    scope: SealScope,
    subject: Option<SubjectId>,
}

/// Which records are to be read, and when. Each waits once, however often it was named.
#[derive(Debug, Default)]
struct Looks {
    todo: VecDeque<Place>,
    waiting: HashSet<Place>,
    /// Whose record could not be read.
    failed: HashSet<Place>,
    again_at: Option<Monotonic>,
    all_at: Option<Monotonic>,
    /// No look at all before.
    all_not_before: Option<Monotonic>,
}

impl Looks {
    fn next(&mut self) -> Option<Place> {
        let place = self.todo.pop_front()?;
        self.waiting.remove(&place);
        Some(place)
    }

    /// Before all others.
    fn soon(&mut self, place: Place) {
        if self.waiting.insert(place) {
            self.todo.push_front(place);
        }
    }

    fn later(&mut self, places: impl IntoIterator<Item = Place>) {
        for place in places {
            if self.waiting.insert(place) {
                self.todo.push_back(place);
            }
        }
    }

    fn fail(&mut self, place: Place, now: Monotonic) {
        self.failed.insert(place);
        self.again_at.get_or_insert(now.plus(PAUSE));
    }

    fn want_all(&mut self, now: Monotonic) {
        let at = self.all_not_before.map_or(now, |at| at.max(now));
        self.all_at.get_or_insert(at);
    }

    /// When there is something to do again.
    fn due(&self) -> Option<Monotonic> {
        self.all_at.into_iter().chain(self.again_at).min()
    }

    /// Takes up what is due; `all` are the places at hand.
    fn take_due(&mut self, now: Monotonic, all: impl FnOnce() -> HashSet<Place>) {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            let failed = std::mem::take(&mut self.failed);
            self.later(failed);
        }
        if self.all_at.is_some_and(|at| at <= now) {
            self.all_at = None;
            self.all_not_before = Some(now.plus(PAUSE));
            self.later(all());
        }
    }
}

enum Heard {
    Time,
    Looked(Place, Result<(), CryptoError>),
    Change(Option<Change>),
}

impl Inner {
    async fn listen_for_ever(&self) -> CryptoError {
        let mut looks = Looks::default();
        loop {
            match self.listen(&mut looks).await {
                Err(closed @ CryptoError::Store(KvError::Closed)) => return closed,
                Err(error) => tracing::warn!(%error, "notices of shreds cannot be heard"),
                // The watch ended; the store says why when it is asked for another.
                Ok(()) => {}
            }
            let clock = self.emitter.clock();
            clock.sleep_until(clock.monotonic().plus(RETRY)).await;
        }
    }

    /// Waits for no record: while some are read, notices go on being heard.
    async fn listen(&self, looks: &mut Looks) -> Result<(), CryptoError> {
        let mut notices = self.shreds.notices().await?;
        // What was destroyed before the watch began.
        looks.want_all(self.now());
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < AT_ONCE
                && let Some(place) = looks.next()
            {
                under_way.push(self.look_in_time(place));
            }
            let time = pin!(self.wait_until(looks.due()));
            let looked = pin!(async {
                match under_way.next().await {
                    Some((place, outcome)) => Heard::Looked(place, outcome),
                    None => std::future::pending().await,
                }
            });
            let change = pin!(async { Heard::Change(notices.next().await) });
            // What is ready first in this order: neither a flood of notices nor a long look may keep the
            // others from their turn.
            let heard = select(time, select(looked, change)).await;
            let heard = match heard {
                Either::Left(((), _)) => Heard::Time,
                Either::Right((other, _)) => other.factor_first().0,
            };
            match heard {
                Heard::Time => looks.take_due(self.now(), || self.places_at_hand()),
                Heard::Looked(_, Ok(())) => {}
                Heard::Looked(place, Err(error)) => {
                    tracing::warn!(%error, "a record that a notice named cannot be read");
                    looks.fail(place, self.now());
                }
                Heard::Change(None) => return Ok(()),
                Heard::Change(Some(Change::Lagged)) => looks.want_all(self.now()),
                Heard::Change(Some(Change::Key(key))) => {
                    let notice = Notice::of(&key);
                    if let Some(place) = notice.and_then(|notice| self.place_of(notice)) {
                        looks.soon(place);
                    }
                }
            }
        }
    }

    async fn wait_until(&self, at: Option<Monotonic>) {
        match at {
            Some(at) => self.emitter.clock().sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// What the notice means, if it is at hand here.
    fn place_of(&self, notice: Notice) -> Option<Place> {
        let tenant = notice.tenant;
        if let ShredTarget::Subject(subject) = notice.target {
            let ((scope, subject), _) = self.subjects.find(&(tenant, subject))?;
            let subject = Some(subject);
            return Some(Place { scope, subject });
        }
        let scope = self.cache.scope_at_hand(tenant).or_else(|| {
            // Patients may be at hand whose tenant is not any more.
            let patients = self
                .subjects
                .matching(|(owner, _)| owner.tenant() == tenant);
            patients.first().map(|((owner, _), _)| *owner)
        });
        let subject = None;
        scope.map(|scope| Place { scope, subject })
    }

    fn places_at_hand(&self) -> HashSet<Place> {
        let scopes = self.cache.matching(|_| true);
        let mut places: HashSet<_> = scopes
            .into_iter()
            .map(|(scope, _)| Place {
                scope,
                subject: None,
            })
            .collect();
        for ((scope, subject), _) in self.subjects.matching(|_| true) {
            for subject in [None, Some(subject)] {
                places.insert(Place { scope, subject });
            }
        }
        places
    }

    async fn look_in_time(&self, place: Place) -> (Place, Result<(), CryptoError>) {
        let late = pin!(self.wait_until(Some(self.now().plus(PATIENCE))));
        let looked = pin!(self.look_at(place));
        match select(looked, late).await {
            Either::Left((outcome, _)) => (place, outcome),
            Either::Right(((), _)) => {
                let slow = KvError::Backend("the store did not answer in time".into());
                (place, Err(slow.into()))
            }
        }
    }

    /// Holds no gate, which a fetch of keys may hold for long: whoever fetches now and read the record from
    /// before is refused by the place ([`Slot::put`](crate::cache::Slot::put)), and learns no older states.
    async fn look_at(&self, place: Place) -> Result<(), CryptoError> {
        match place.subject {
            None => self.look_at_scope(place.scope).await,
            Some(subject) => self.look_at_subject(place.scope, subject).await,
        }
    }

    async fn look_at_scope(&self, scope: SealScope) -> Result<(), CryptoError> {
        let slot = self.cache.slot(scope);
        if slot.usable().is_err() {
            return Ok(());
        }
        match unless_malformed(self.keysets.find(scope).await)? {
            Some(Some((ScopeRecord::Shredded(_), _))) => {
                self.close_here(scope, ShredTarget::Tenant);
            }
            Some(Some((ScopeRecord::Live(keyset), version))) => {
                slot.states.learn(&keyset, version);
                self.replace_outdated(scope, &slot);
            }
            Some(None) | None => {}
        }
        Ok(())
    }

    async fn look_at_subject(
        &self,
        scope: SealScope,
        subject: SubjectId,
    ) -> Result<(), CryptoError> {
        let place = (scope, subject);
        let Some((_, slot)) = self.subjects.find(&place.name()) else {
            return Ok(());
        };
        if slot.usable().is_err() {
            return Ok(());
        }
        let found = unless_malformed(self.shreds.subject(scope, subject).await)?;
        let record = found.and_then(|found| found.value);
        if let Some(SubjectRecord::Shredded { .. }) = record {
            slot.bury();
            self.subjects.evict(&place);
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
