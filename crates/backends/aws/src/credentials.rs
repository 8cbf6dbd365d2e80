//! Who asks: the access key that signs the calls, and where it comes from.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use eonpro_core::error::Source;
use eonpro_core::secret::SecretText;
use eonpro_core::time::Timestamp;

/// An access key, with its session if it is a temporary one.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The id of the access key. No secret.
    pub access_key_id: String,
    /// The secret of the access key.
    pub secret_access_key: SecretText,
    /// The session that a temporary access key belongs to.
    pub session_token: Option<SecretText>,
    /// When they end; they are asked for again a little before. `None`: never.
    pub expires: Option<Timestamp>,
}

impl Credentials {
    /// An access key without session or end.
    #[must_use]
    pub fn long_lived(access_key_id: String, secret_access_key: SecretText) -> Self {
        Self {
            access_key_id,
            secret_access_key,
            session_token: None,
            expires: None,
        }
    }
}

/// Where credentials come from.
///
/// Credentials of an instance, a container or a web identity are obtained by the application, which
/// puts whatever it obtains them with behind this trait.
#[async_trait]
pub trait CredentialSource: fmt::Debug + Send + Sync + 'static {
    /// The credentials from now on. Asked for at the first call and shortly before they end, by one
    /// caller for all. Cancel-safe, idempotent.
    ///
    /// # Errors
    /// [`CredentialError`]; the call that needed them fails with `CryptoError::Root`.
    async fn load(&self) -> Result<Credentials, CredentialError>;
}

/// There are no credentials. The source must not tell a secret.
#[derive(Debug, thiserror::Error)]
#[error("credentials could not be loaded")]
pub struct CredentialError(#[source] pub Source);

/// Credentials that were configured and do not change.
#[derive(Debug, Clone)]
pub struct StaticCredentials(Credentials);

impl StaticCredentials {
    /// Always these.
    #[must_use]
    pub fn new(credentials: Credentials) -> Self {
        Self(credentials)
    }
}

#[async_trait]
impl CredentialSource for StaticCredentials {
    async fn load(&self) -> Result<Credentials, CredentialError> {
        Ok(self.0.clone())
    }
}

/// A [`CredentialSource`] as the SDK asks for it.
#[derive(Debug)]
pub(crate) struct Provider(pub(crate) Arc<dyn CredentialSource>);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            let loaded = self
                .0
                .load()
                .await
                .map_err(CredentialsError::provider_error)?;
            // The SDK wipes its copies when they are dropped.
            Ok(aws_credential_types::Credentials::new(
                loaded.access_key_id,
                loaded.secret_access_key.expose(),
                loaded.session_token.map(|token| token.expose().to_owned()),
                loaded.expires.map(system_time),
                "eonpro",
            ))
        })
    }
}

/// A timestamp as the SDK wants it. Before the epoch is the epoch.
pub(crate) fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(at.nanos()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_print_no_secret() {
        let mut credentials =
            Credentials::long_lived("AKID".to_owned(), SecretText::new("hunter2".to_owned()));
        credentials.session_token = Some(SecretText::new("hunter3".to_owned()));
        let text = format!("{:?}", StaticCredentials::new(credentials));
        assert!(text.contains("AKID") && !text.contains("hunter"), "{text}");
    }
}
