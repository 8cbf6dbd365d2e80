//! One context for each module in this process, and one login for each of its tokens.
//!
//! A module that is initialised twice, or finalised while somebody uses it, is undefined behaviour in
//! many an implementation; so each is initialised on first use and stays.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, SessionState, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use eonpro_core::secret::SecretText;
use eonpro_encryption::CryptoError;

use crate::failure::Failure;

/// A loaded module.
pub(crate) struct Module {
    pkcs11: Pkcs11,
    turns: Mutex<()>,
    tokens: Mutex<HashMap<String, Weak<Token>>>,
}

/// One token of a module, as this process is logged in to it.
pub(crate) struct Token {
    module: Arc<Module>,
    label: String,
    pin: SecretText,
    /// Whether the token refused the PIN. It is not offered again: a few refusals lock a token.
    refused: Mutex<bool>,
}

/// The module at `path`, loaded and initialised if this is its first use.
pub(crate) fn module(path: &Path) -> Result<Arc<Module>, Failure> {
    static MODULES: OnceLock<Mutex<HashMap<PathBuf, Arc<Module>>>> = OnceLock::new();
    let path = path
        .canonicalize()
        .map_err(|_| CryptoError::Config("module that does not exist"))?;
    let mut modules = locked(MODULES.get_or_init(Mutex::default));
    if let Some(module) = modules.get(&path) {
        return Ok(Arc::clone(module));
    }
    let pkcs11 = Pkcs11::new(&path)?;
    let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
    match pkcs11.initialize(arguments) {
        // Other code of this process was first; it must not finalise the module.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(error.into()),
    }
    let module = Arc::new(Module {
        pkcs11,
        turns: Mutex::default(),
        tokens: Mutex::default(),
    });
    modules.insert(path, Arc::clone(&module));
    Ok(module)
}

impl Module {
    /// Waits for a turn at the module.
    pub(crate) fn turn(&self) -> MutexGuard<'_, ()> {
        locked(&self.turns)
    }

    /// The token of that label. All who use it in this process must know its PIN: the login is
    /// shared, and a module does not look at the PIN of the second.
    pub(crate) fn token(
        self: &Arc<Self>,
        label: &str,
        pin: &SecretText,
    ) -> Result<Arc<Token>, Failure> {
        let mut tokens = locked(&self.tokens);
        if let Some(token) = tokens.get(label).and_then(Weak::upgrade) {
            return if token.pin == *pin {
                Ok(token)
            } else {
                Err(refused_pin())
            };
        }
        let token = Arc::new(Token {
            module: Arc::clone(self),
            label: label.to_owned(),
            pin: pin.clone(),
            refused: Mutex::default(),
        });
        tokens.insert(label.to_owned(), Arc::downgrade(&token));
        Ok(token)
    }
}

impl Token {
    pub(crate) fn module(&self) -> &Module {
        &self.module
    }

    /// Opens a session that is logged in.
    pub(crate) fn open(&self) -> Result<Session, Failure> {
        let session = self.module.pkcs11.open_rw_session(self.slot()?)?;
        let mut refused = locked(&self.refused);
        if *refused {
            return Err(refused_pin());
        }
        if is_logged_in(&session)? {
            return Ok(session);
        }
        let pin = AuthPin::from(self.pin.expose().to_owned());
        match session.login(UserType::User, Some(&pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(Error::Pkcs11(code, _)) if is_about_the_pin(code) => {
                *refused = true;
                Err(refused_pin())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the token is SoftHSM's, whose keys lie in files.
    pub(crate) fn is_soft(&self) -> Result<bool, Failure> {
        let about = self.module.pkcs11.get_token_info(self.slot()?)?;
        Ok(about.model().starts_with("SoftHSM"))
    }

    fn slot(&self) -> Result<Slot, Failure> {
        let mut found = None;
        for slot in self.module.pkcs11.get_slots_with_token()? {
            // A token that does not answer is not there, and must not hide the others.
            let Ok(about) = self.module.pkcs11.get_token_info(slot) else {
                continue;
            };
            if about.token_initialized() && about.label() == self.label {
                if found.is_some() {
                    return Err(CryptoError::Config("token label that several tokens have").into());
                }
                found = Some(slot);
            }
        }
        found.ok_or(Failure::Away("no token has this label"))
    }
}

pub(crate) fn is_logged_in(session: &Session) -> Result<bool, Failure> {
    let state = session.get_session_info()?.session_state();
    Ok(matches!(state, SessionState::RwUser))
}

fn is_about_the_pin(code: RvError) -> bool {
    matches!(
        code,
        RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::UserPinNotInitialized
    )
}

fn refused_pin() -> Failure {
    CryptoError::Config("pin that the token refuses").into()
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
