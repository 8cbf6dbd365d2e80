//! The SDK's client, on our clock and within our bounds.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{
    AsyncSleep, BehaviorVersion, Config, Region, Sleep, StalledStreamProtectionConfig,
};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_async::time::TimeSource;
use aws_smithy_http_client::tls::Provider as Tls;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use eonpro_core::time::SharedClock;
use futures_util::future::{Either, select};
use tokio::sync::Semaphore;

use crate::config::KmsConfig;
use crate::credentials::{CredentialSource, Provider, system_time};
use crate::endpoint::Endpoint;
use crate::failure::KmsFailure;

/// The pause before the second attempt, at most; it doubles from there up to [`LAST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// KMS, asked by a bounded number of calls at a time.
pub(crate) struct Kms {
    pub(crate) client: Client,
    pub(crate) clock: SharedClock,
    turns: Semaphore,
    patience: Duration,
}

impl Kms {
    pub(crate) fn new(
        config: &KmsConfig,
        endpoint: Option<&Endpoint>,
        credentials: Arc<dyn CredentialSource>,
        clock: SharedClock,
    ) -> Self {
        // Sound without a proxy only: the SDK would not take one from the environment, nor do we.
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(Tls::Rustls(CryptoMode::Ring))
            .build_https();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.connect_timeout)
            .operation_attempt_timeout(config.attempt_timeout)
            .operation_timeout(config.operation_timeout)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(config.attempts)
            .with_initial_backoff(FIRST_PAUSE)
            .with_max_backoff(LAST_PAUSE);
        let ours = OurClock(Arc::clone(&clock));
        let mut sdk = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(config.region.clone()))
            .credentials_provider(Provider(credentials))
            .http_client(http)
            .time_source(ours.clone())
            .sleep_impl(ours)
            .timeout_config(timeouts)
            .retry_config(retries)
            // Bodies are small, and the attempt's timeout covers them.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = endpoint {
            sdk = sdk.endpoint_url(&endpoint.url);
        }
        Self {
            client: Client::from_conf(sdk.build()),
            clock,
            turns: Semaphore::new(config.max_in_flight),
            patience: config.operation_timeout,
        }
    }

    /// Makes a call when its turn has come.
    pub(crate) async fn call<T, E>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E>>> + Send,
    ) -> Result<T, KmsFailure>
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let turn = std::pin::pin!(self.turns.acquire());
        let too_late = self.clock.monotonic().plus(self.patience);
        let _turn = match select(turn, self.clock.sleep_until(too_late)).await {
            Either::Left((Ok(turn), _)) => turn,
            Either::Left((Err(_), _)) => return Err(KmsFailure::closed(operation)),
            Either::Right(_) => return Err(KmsFailure::crowded(operation)),
        };
        // On the heap: the SDK's futures are large, and every caller would carry them.
        Box::pin(call)
            .await
            .map_err(|error| KmsFailure::of(operation, error))
    }

    /// Lets no further call begin; those under way go on to their timeout.
    pub(crate) fn close(&self) {
        self.turns.close();
    }
}

/// Our clock, as the SDK asks it.
#[derive(Debug, Clone)]
struct OurClock(SharedClock);

impl TimeSource for OurClock {
    fn now(&self) -> SystemTime {
        system_time(self.0.wall())
    }
}

impl AsyncSleep for OurClock {
    fn sleep(&self, duration: Duration) -> Sleep {
        let clock = Arc::clone(&self.0);
        let until = clock.monotonic().plus(duration);
        // The SDK wants a future that can be shared between threads, and never shares it.
        let mut sleeping = Mutex::new(Box::pin(async move { clock.sleep_until(until).await }));
        Sleep::new(poll_fn(move |cx| {
            let sleeping = sleeping.get_mut();
            sleeping
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .as_mut()
                .poll(cx)
        }))
    }
}
