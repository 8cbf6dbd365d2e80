//! A token issuer for development: one Ed25519 key, made at start and lost at the end.
//!
//! It stands in for the identity provider where there is none, in examples and tests. Its posture
//! says so, and a production profile refuses it. Whoever holds it can be anybody.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use eonpro_core::component::{Component, Durability, Fitness, Health, Posture, Validation};
use eonpro_core::entropy::SharedEntropy;
use eonpro_core::id::{ActorId, TenantId};
use eonpro_core::secret::SecretText;
use eonpro_core::time::{SharedClock, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::Serialize;

use crate::error::AuthError;
use crate::token::{
    Algorithm, Audience, Issuer, Jwks, KeySource, StaticKeys, Verifier, VerifyKey, encode_base64url,
};

const KID_BYTES: usize = 9;

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// `sub`: who acts.
    pub subject: ActorId,
    /// `tenant`: for which tenant.
    pub tenant: TenantId,
    /// `roles`.
    pub roles: Vec<String>,
    /// `amr`: methods of authentication (RFC 8176).
    pub methods: Vec<String>,
    /// For how long it is good; 5 minutes by default.
    pub lifetime: Duration,
}

impl NewToken {
    /// A token for `subject` in `tenant`, who typed a password, with no role.
    #[must_use]
    pub fn new(subject: ActorId, tenant: TenantId) -> Self {
        Self {
            subject,
            tenant,
            roles: Vec::new(),
            methods: vec!["pwd".to_owned()],
            lifetime: Duration::from_secs(300),
        }
    }

    /// The same, with these roles.
    #[must_use]
    pub fn with_roles(self, roles: &[&str]) -> Self {
        Self {
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            ..self
        }
    }

    /// The same, good for `lifetime`.
    #[must_use]
    pub fn lasting(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }
}

struct Signing {
    kid: String,
    pair: Ed25519KeyPair,
}

/// A token issuer for development: one Ed25519 key, made at start and lost at the end.
///
/// Posture `Development`: a production profile refuses it.
pub struct DevIssuer {
    issuer: Issuer,
    audience: Audience,
    clock: SharedClock,
    entropy: SharedEntropy,
    signing: Mutex<Arc<Signing>>,
    keys: Arc<StaticKeys>,
}

#[derive(Serialize)]
struct HeaderWire<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
}

#[derive(Serialize)]
struct ClaimsWire<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    tenant: String,
    roles: &'a [String],
    amr: &'a [String],
    auth_time: i64,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
}

impl DevIssuer {
    /// An issuer with a fresh key, issuing for `audience`.
    ///
    /// # Errors
    /// [`AuthError::Primitive`] if the system has no randomness.
    pub fn generate(
        issuer: Issuer,
        audience: Audience,
        clock: SharedClock,
        entropy: SharedEntropy,
    ) -> Result<Self, AuthError> {
        let signing = Signing::generate(&entropy)?;
        let keys = StaticKeys::with_fitness(signing.jwks()?, Fitness::Development);
        Ok(Self {
            issuer,
            audience,
            clock,
            entropy,
            signing: Mutex::new(Arc::new(signing)),
            keys: Arc::new(keys),
        })
    }

    /// The source of its public key.
    #[must_use]
    pub fn keys(&self) -> Arc<dyn KeySource> {
        Arc::<StaticKeys>::clone(&self.keys)
    }

    /// A verifier for its tokens.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier::builder()
            .issuer(self.issuer.clone())
            .audience(self.audience.clone())
            .algorithms(&[Algorithm::EdDsa])
            .keys(self.keys())
            .build()
    }

    /// Throws its key away for a fresh one. Tokens signed with the old one are refused from now on.
    ///
    /// # Errors
    /// As [`Self::generate`].
    pub fn rotate(&self) -> Result<(), AuthError> {
        let fresh = Signing::generate(&self.entropy)?;
        let mut signing = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        self.keys.replace(&fresh.jwks()?);
        *signing = Arc::new(fresh);
        Ok(())
    }

    /// Issues an access token (RFC 9068), authenticated now.
    ///
    /// # Errors
    /// [`AuthError::Record`] never happens with these claims.
    pub fn issue(&self, new: &NewToken) -> Result<SecretText, AuthError> {
        let signing = Arc::clone(&self.signing.lock().unwrap_or_else(PoisonError::into_inner));
        let now = self.clock.wall();
        let seconds = Timestamp::seconds;
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        let header = HeaderWire {
            alg: Algorithm::EdDsa.as_str(),
            typ: "at+jwt",
            kid: &signing.kid,
        };
        let claims = ClaimsWire {
            iss: self.issuer.as_str(),
            aud: self.audience.as_str(),
            sub: new.subject.as_str(),
            tenant: new.tenant.to_string(),
            roles: &new.roles,
            amr: &new.methods,
            auth_time: seconds(now),
            iat: seconds(now),
            nbf: seconds(now),
            exp: seconds(now.plus(new.lifetime)),
            jti: encode_base64url(&id),
        };
        let mut token = format!("{}.{}", part(&header)?, part(&claims)?);
        let signature = signing.pair.sign(token.as_bytes());
        token.push('.');
        token.push_str(&encode_base64url(signature.as_ref()));
        Ok(SecretText::new(token))
    }
}

fn part<T: Serialize>(value: &T) -> Result<String, AuthError> {
    let json = serde_json::to_vec(value).map_err(|_| AuthError::Record)?;
    Ok(encode_base64url(&json))
}

impl Signing {
    fn generate(entropy: &SharedEntropy) -> Result<Self, AuthError> {
        let failed = |_| AuthError::Primitive("no ed25519 key".into());
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref())
            .map_err(|error| AuthError::Primitive(error.to_string().into()))?;
        let mut kid = [0; KID_BYTES];
        entropy.fill(&mut kid);
        Ok(Self {
            kid: encode_base64url(&kid),
            pair,
        })
    }

    fn jwks(&self) -> Result<Jwks, AuthError> {
        let public = self.pair.public_key().as_ref();
        let key = VerifyKey::ed25519(Some(&self.kid), public);
        let key = key.ok_or_else(|| AuthError::Primitive("no ed25519 key".into()))?;
        Jwks::of(vec![key]).map_err(|error| AuthError::Primitive(error.into()))
    }
}

impl fmt::Debug for DevIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevIssuer")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Component for DevIssuer {
    fn name(&self) -> &'static str {
        "dev-issuer"
    }

    fn posture(&self) -> Posture {
        Posture {
            durability: Durability::Stateless,
            crypto: Validation::NotValidated,
            fitness: Fitness::Development,
        }
    }

    async fn health(&self) -> Health {
        Health::Healthy
    }

    async fn close(&self) {}
}
