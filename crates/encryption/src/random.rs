//! Randomness for keys, salts and nonces: the operating system's, through ring.

use std::sync::{Mutex, PoisonError};

use eonpro_core::port::SealError;
use eonpro_core::secret::KeyBytes;
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::error::CryptoError;

/// Fills `out` from the operating system.
pub(crate) fn fill_random(out: &mut [u8]) -> Result<(), SealError> {
    SystemRandom::new()
        .fill(out)
        .map_err(|_| SealError::Backend(Box::new(CryptoError::Randomness)))
}

/// A fresh key.
pub(crate) fn random_key() -> Result<KeyBytes<32>, SealError> {
    let mut bytes = [0; 32];
    fill_random(&mut bytes)?;
    Ok(KeyBytes::take(&mut bytes))
}

/// Bytes of one salt, or of one nonce of XAES-256-GCM.
pub(crate) const SALT_LEN: usize = 24;
/// A fresh salt.
pub(crate) fn fresh_salt() -> Result<[u8; SALT_LEN], SealError> {
    let mut salt = [0; SALT_LEN];
    fill_random(&mut salt)?;
    Ok(salt)
}

const SALTS: usize = 16;

/// Salts for one cipher, drawn sixteen at a time: a system call for each would cost as much as the
/// sealing of a short value.
///
/// Each is handed out once. A process image that is resumed twice, or forked, would hand out the
/// rest of a draw twice; so a pool belongs to one cipher of one request, is drawn when first
/// needed, and never outlives them.
pub(crate) struct SaltPool(Mutex<Drawn>);

struct Drawn {
    salts: [[u8; SALT_LEN]; SALTS],
    left: usize,
}

impl SaltPool {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Drawn {
            salts: [[0; SALT_LEN]; SALTS],
            left: 0,
        }))
    }

    /// A salt that was never handed out.
    pub(crate) fn take(&self) -> Result<[u8; SALT_LEN], SealError> {
        let mut drawn = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if drawn.left == 0 {
            fill_random(drawn.salts.as_flattened_mut())?;
            drawn.left = SALTS;
        }
        drawn.left -= 1;
        let at = drawn.left;
        let salt = drawn.salts.get_mut(at).map(std::mem::take);
        salt.ok_or(SealError::LimitExceeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_salt_is_handed_out_twice_also_not_to_threads() {
        let pool = SaltPool::new();
        let seen: Mutex<HashSet<[u8; SALT_LEN]>> = Mutex::default();
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    for _ in 0..1000 {
                        let salt = pool.take().unwrap();
                        assert_ne!(salt, [0; SALT_LEN]);
                        assert!(seen.lock().unwrap().insert(salt));
                    }
                });
            }
        });
        assert_eq!(seen.into_inner().unwrap().len(), 4000);
    }
}
