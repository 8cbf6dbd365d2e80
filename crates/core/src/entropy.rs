//! Injected randomness for ids and jitter.
//!
//! Keys and salts never come from here: they come from ring's `SystemRandom`, so that a seeded
//! source in a test can never weaken a key.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ring::rand::SecureRandom;

/// Where random bits for ids and jitter come from.
pub trait Entropy: fmt::Debug + Send + Sync + 'static {
    /// Fills `out` with random bytes; blocks until the source has them.
    fn fill(&self, out: &mut [u8]);
}

/// A shared source of entropy.
pub type SharedEntropy = Arc<dyn Entropy>;

/// The operating system's generator.
#[derive(Debug, Clone)]
pub struct SystemEntropy(ring::rand::SystemRandom);

impl SystemEntropy {
    /// The system's source.
    #[must_use]
    pub fn new() -> Self {
        Self(ring::rand::SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        // The system call fails only before the kernel's pool is initialized.
        while self.0.fill(out).is_err() {
            std::thread::yield_now();
        }
    }
}

/// A seeded source (SplitMix64) for tests and simulations: the same seed gives the same ids.
#[derive(Debug)]
pub struct SeededEntropy(AtomicU64);

impl SeededEntropy {
    /// A source that starts from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    fn next(&self) -> u64 {
        const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self
            .0
            .fetch_add(GOLDEN_GAMMA, Ordering::Relaxed)
            .wrapping_add(GOLDEN_GAMMA);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            for (byte, random) in chunk.iter_mut().zip(self.next().to_le_bytes()) {
                *byte = random;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_does_not() {
        let draw = |seed| {
            let mut out = [0_u8; 20];
            SeededEntropy::new(seed).fill(&mut out);
            out
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn system_entropy_fills_the_whole_buffer() {
        let mut out = [0_u8; 64];
        SystemEntropy::new().fill(&mut out);
        assert!(
            out.chunks(16)
                .all(|part| part.iter().any(|byte| *byte != 0))
        );
    }
}
