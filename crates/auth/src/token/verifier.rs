//! The verifier: from a token and an instant to verified claims, or a reason to refuse.
//!
//! It is built in steps that the type system counts: without an issuer, an audience, algorithms
//! and keys there is no verifier. The order of checks is fixed: framing, header, key, signature,
//! and only then the claims.

use std::sync::Arc;
use std::time::Duration;

use eonpro_core::component::Posture;
use eonpro_core::time::Timestamp;

use super::algorithm::{Algorithm, SharedSecret};
use super::claims::{Audience, Claims, Expectation, Issuer, MAX_LEEWAY, begun, in_time};
use super::jwks::Jwks;
use super::jws::CompactJws;
use super::keys::{KeySet, KeySource, StaticKeys};
use super::reject::Reject;

/// A part of the verifier that has not been named yet.
#[derive(Debug, Clone, Copy)]
pub struct Missing;

/// Which `typ` a token must declare (RFC 8725 section 3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TypRule {
    /// `at+jwt` alone, as RFC 9068 section 2.1 demands of access tokens.
    #[default]
    AccessToken,
    /// `at+jwt`, `JWT`, or none: for issuers that predate RFC 9068. Never another type, such as
    /// `logout+jwt`.
    Untyped,
}

impl TypRule {
    fn accepts(self, typ: Option<&str>) -> bool {
        match self {
            Self::AccessToken => typ == Some("at+jwt"),
            Self::Untyped => matches!(typ, None | Some("at+jwt" | "jwt")),
        }
    }
}

/// Builds a [`Verifier`]. The four parameters say which parts have been named.
#[derive(Debug)]
pub struct VerifierBuilder<I, A, G, K> {
    issuer: I,
    audience: A,
    algorithms: G,
    keys: K,
    leeway: Duration,
    typ: TypRule,
}

/// Verifies access tokens of one issuer for one audience.
#[derive(Debug, Clone)]
pub struct Verifier {
    expect: Arc<Expectation>,
    algorithms: Arc<[Algorithm]>,
    keys: Arc<dyn KeySource>,
    typ: TypRule,
}

/// Claims whose token was verified, and what must be asked again before they are used later.
#[derive(Debug, Clone)]
pub struct Verified {
    claims: Claims,
    generation: u64,
    leeway: Duration,
}

impl Verified {
    /// The claims.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether the claims' time still includes `now`.
    #[must_use]
    pub fn in_time(&self, now: Timestamp) -> bool {
        in_time(self.claims.expires, self.leeway, now)
            && self
                .claims
                .not_before
                .is_none_or(|at| begun(at, self.leeway, now))
    }

    /// The generation of the keys that it was verified with.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl Verifier {
    /// Begins to build one.
    #[must_use]
    pub fn builder() -> VerifierBuilder<Missing, Missing, Missing, Missing> {
        VerifierBuilder {
            issuer: Missing,
            audience: Missing,
            algorithms: Missing,
            keys: Missing,
            leeway: Duration::from_secs(30),
            typ: TypRule::default(),
        }
    }

    /// Verifies `token` with the present keys at `now`. Pure but for the key set it reads.
    ///
    /// # Errors
    /// [`Reject`]; outside say no more than `invalid_token`.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Verified, Reject> {
        self.verify_with(&self.keys.current(), token, now)
    }

    pub(crate) fn verify_with(
        &self,
        keys: &KeySet,
        token: &str,
        now: Timestamp,
    ) -> Result<Verified, Reject> {
        let jws = CompactJws::parse(token)?;
        let header = jws.header();
        if !self.algorithms.contains(&header.algorithm) {
            return Err(Reject::AlgNotAllowed);
        }
        if !self.typ.accepts(header.typ.as_deref()) {
            return Err(Reject::Typ);
        }
        let key = keys.select(header.kid.as_deref(), header.algorithm)?;
        key.verify(jws.signed(), jws.signature())
            .map_err(|_| Reject::Signature)?;
        Ok(Verified {
            claims: Claims::check(&jws.claims()?, &self.expect, now)?,
            generation: keys.generation(),
            leeway: self.expect.leeway,
        })
    }

    /// The issuer whose tokens it accepts.
    #[must_use]
    pub fn issuer(&self) -> &Issuer {
        &self.expect.issuer
    }

    /// Where its keys come from.
    #[must_use]
    pub fn keys(&self) -> &Arc<dyn KeySource> {
        &self.keys
    }

    /// The posture of its keys.
    #[must_use]
    pub fn posture(&self) -> Posture {
        self.keys.posture()
    }
}

impl<A, G, K> VerifierBuilder<Missing, A, G, K> {
    /// Names the one issuer: `iss` must equal it byte for byte.
    #[must_use]
    pub fn issuer(self, issuer: Issuer) -> VerifierBuilder<Issuer, A, G, K> {
        VerifierBuilder {
            issuer,
            audience: self.audience,
            algorithms: self.algorithms,
            keys: self.keys,
            leeway: self.leeway,
            typ: self.typ,
        }
    }
}

impl<I, G, K> VerifierBuilder<I, Missing, G, K> {
    /// Names us: `aud` must be or contain it.
    #[must_use]
    pub fn audience(self, audience: Audience) -> VerifierBuilder<I, Audience, G, K> {
        VerifierBuilder {
            issuer: self.issuer,
            audience,
            algorithms: self.algorithms,
            keys: self.keys,
            leeway: self.leeway,
            typ: self.typ,
        }
    }
}

impl<I, A, K> VerifierBuilder<I, A, Missing, K> {
    /// Names the public-key algorithms that are accepted. [`Algorithm::Hs256`] is left out even
    /// if named: see [`Self::symmetric`].
    #[must_use]
    pub fn algorithms(self, allowed: &[Algorithm]) -> VerifierBuilder<I, A, Arc<[Algorithm]>, K> {
        VerifierBuilder {
            issuer: self.issuer,
            audience: self.audience,
            algorithms: allowed
                .iter()
                .copied()
                .filter(|algorithm| *algorithm != Algorithm::Hs256)
                .collect(),
            keys: self.keys,
            leeway: self.leeway,
            typ: self.typ,
        }
    }
}

impl<I, A, G> VerifierBuilder<I, A, G, Missing> {
    /// Names the source of the keys.
    #[must_use]
    pub fn keys(self, keys: Arc<dyn KeySource>) -> VerifierBuilder<I, A, G, Arc<dyn KeySource>> {
        VerifierBuilder {
            issuer: self.issuer,
            audience: self.audience,
            algorithms: self.algorithms,
            keys,
            leeway: self.leeway,
            typ: self.typ,
        }
    }
}

impl<I, A> VerifierBuilder<I, A, Missing, Missing> {
    /// Chooses HS256 with a secret that is shared with the issuer, and nothing else: whoever can
    /// verify such a token can also forge it.
    #[must_use]
    pub fn symmetric(
        self,
        secret: SharedSecret,
    ) -> VerifierBuilder<I, A, Arc<[Algorithm]>, Arc<dyn KeySource>> {
        VerifierBuilder {
            issuer: self.issuer,
            audience: self.audience,
            algorithms: Arc::from([Algorithm::Hs256]),
            keys: Arc::new(StaticKeys::new(Jwks::only(secret.verify_key()))),
            leeway: self.leeway,
            typ: self.typ,
        }
    }
}

impl<I, A, G, K> VerifierBuilder<I, A, G, K> {
    /// How far foreign clocks may differ: 30 s unless named, at most [`MAX_LEEWAY`].
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway.min(MAX_LEEWAY);
        self
    }

    /// Which `typ` is accepted: `at+jwt` unless named.
    #[must_use]
    pub fn typ(mut self, rule: TypRule) -> Self {
        self.typ = rule;
        self
    }
}

impl VerifierBuilder<Issuer, Audience, Arc<[Algorithm]>, Arc<dyn KeySource>> {
    /// The verifier.
    #[must_use]
    pub fn build(self) -> Verifier {
        Verifier {
            expect: Arc::new(Expectation {
                issuer: self.issuer,
                audience: self.audience,
                leeway: self.leeway,
            }),
            algorithms: self.algorithms,
            keys: self.keys,
            typ: self.typ,
        }
    }
}
