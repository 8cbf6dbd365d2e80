//! Which library does the cryptography: ring, or aws-lc-rs behind the feature `aws-lc`.
//!
//! Both give the same bytes. Neither is asked for a nonce by a caller: salts and nonces are drawn
//! here. AES-SIV and the two AES blocks of XAES's key derivation come from RustCrypto with both,
//! because neither library offers them.

use std::fmt;

/// The library that does AES-256-GCM, HKDF-SHA-512 and HMAC-SHA-256.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Primitives {
    /// ring.
    #[default]
    Ring,
    /// aws-lc-rs. Wins on processors with AVX-512; which is faster elsewhere must be measured.
    #[cfg(feature = "aws-lc")]
    AwsLc,
}

/// What is known of the cryptography in use. Printed, it is one line for an auditor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CryptoProfile {
    /// The library.
    pub library: &'static str,
    /// The release line that this crate was built for.
    pub version: &'static str,
    /// The FIPS 140-3 certificate that covers it. `None`: not validated, and no claim may be made.
    pub certificate: Option<&'static str>,
}

impl Primitives {
    /// All that this build has.
    pub const ALL: &'static [Self] = &[
        Self::Ring,
        #[cfg(feature = "aws-lc")]
        Self::AwsLc,
    ];

    /// What is known of it. No build of this crate is covered by a certificate: those of AWS-LC FIPS
    /// hold for other releases, built in another way.
    #[must_use]
    pub const fn profile(self) -> CryptoProfile {
        match self {
            Self::Ring => CryptoProfile {
                library: "ring",
                version: "0.17",
                certificate: None,
            },
            #[cfg(feature = "aws-lc")]
            Self::AwsLc => CryptoProfile {
                library: "aws-lc-rs",
                version: "1.19",
                certificate: None,
            },
        }
    }
}

/// `ring 0.17, not validated`.
impl fmt::Display for CryptoProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            library, version, ..
        } = self;
        match self.certificate {
            Some(certificate) => write!(
                f,
                "{library} {version}, FIPS 140-3 certificate {certificate}"
            ),
            None => write!(f, "{library} {version}, not validated"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_claims_no_certificate() {
        for primitives in Primitives::ALL {
            let line = primitives.profile().to_string();
            assert!(line.ends_with(", not validated"), "{line}");
        }
        assert_eq!(Primitives::default().profile().library, "ring");
    }
}
