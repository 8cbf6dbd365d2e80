//! A bounded pool of sessions: each call has one to itself, on a thread that may block.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::session::Session;
use eonpro_core::task;
use eonpro_encryption::CryptoError;
use tokio::sync::Semaphore;

use crate::config::Pkcs11Config;
use crate::failure::Failure;
use crate::module::{Token, module};

#[derive(Clone)]
pub(crate) struct Pool(Arc<Inner>);

struct Inner {
    token: Arc<Token>,
    serialize: bool,
    free: Arc<Semaphore>,
    idle: Mutex<Vec<Session>>,
    ailing: AtomicBool,
}

impl Pool {
    /// Loads the module and finds out whether the token is SoftHSM's. Blocks.
    pub(crate) fn open(config: &Pkcs11Config) -> Result<(Self, bool), Failure> {
        let module = module(&config.module)?;
        let _turn = config.serialize.then(|| module.turn());
        let token = module.token(&config.token, &config.pin)?;
        let soft = token.is_soft()?;
        let inner = Inner {
            token,
            serialize: config.serialize,
            free: Arc::new(Semaphore::new(config.max_sessions)),
            idle: Mutex::default(),
            ailing: AtomicBool::new(false),
        };
        Ok((Self(Arc::new(inner)), soft))
    }

    /// Runs `call` with a session of its own, to its end even if the future is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Session) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, CryptoError> {
        let free = Arc::clone(&self.0.free);
        let permit = free.acquire_owned().await;
        let permit = permit.map_err(|_| CryptoError::Closed)?;
        let inner = Arc::clone(&self.0);
        let outcome = task::blocking(move || {
            let outcome = inner.call(call);
            drop(permit);
            outcome
        });
        Ok(outcome.await??)
    }

    /// Refuses further calls, waits for those that run and closes all sessions.
    pub(crate) async fn close(&self, max_sessions: usize) {
        let count = u32::try_from(max_sessions).unwrap_or(u32::MAX);
        let all = Arc::clone(&self.0.free).acquire_many_owned(count).await;
        self.0.free.close();
        drop(all);
        let inner = Arc::clone(&self.0);
        // Lost only if the runtime shuts down, and then the process ends, too.
        let _closed = task::blocking(move || {
            let _turn = inner.turn();
            inner.forget_sessions();
        })
        .await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.free.is_closed()
    }

    /// Whether the last call found the token away or failing.
    pub(crate) fn is_ailing(&self) -> bool {
        self.0.ailing.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn turn(&self) -> Option<std::sync::MutexGuard<'_, ()>> {
        self.serialize.then(|| self.token.module().turn())
    }

    fn call<T>(&self, call: impl FnOnce(&Session) -> Result<T, Failure>) -> Result<T, Failure> {
        let _turn = self.turn();
        let idle = self.idle().pop();
        let session = match idle {
            Some(session) => Ok(session),
            None => self.token.open(),
        };
        let outcome = session.and_then(|session| {
            let outcome = call(&session);
            if matches!(outcome, Ok(_) | Err(Failure::Refused(_))) {
                self.idle().push(session);
            }
            outcome
        });
        let sound = matches!(outcome, Ok(_) | Err(Failure::Refused(_)));
        if !sound {
            // A token that was away has taken all its sessions along.
            self.forget_sessions();
        }
        self.ailing.store(!sound, Ordering::Relaxed);
        outcome
    }

    fn forget_sessions(&self) {
        let idle = std::mem::take(&mut *self.idle());
        drop(idle);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the sessions of a pool that nobody closed, in its turn: a module may be no safer when
/// sessions are closed than when they are used.
impl Drop for Inner {
    fn drop(&mut self) {
        let _turn = self.turn();
        self.forget_sessions();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
