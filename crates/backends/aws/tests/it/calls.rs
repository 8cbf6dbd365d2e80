//! Calls that fail, hang or crowd: what is tried again, and what surfaces.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use eonpro_aws::{
    CredentialError, CredentialSource, Credentials, KmsFailure, KmsRoot, KmsRootParts,
};
use eonpro_core::Classify as _;
use eonpro_core::component::{Component as _, Health};
use eonpro_core::secret::SecretText;
use eonpro_core::task;
use eonpro_core::time::{Clock as _, ManualClock, Timestamp};
use eonpro_encryption::{CryptoError, RootKey as _};
use futures_util::future::poll_immediate;

use crate::bed::{Bed, context, key, root_with};
use crate::proxy::Fault;

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_seconds(1_795_000_000)))
}

/// Polls `work` until `done`; it must not end before.
async fn drive(work: &mut (impl Future + Unpin), done: impl Fn() -> bool) {
    while !done() {
        assert!(poll_immediate(&mut *work).await.is_none());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn throttled_calls_are_tried_again() {
    let Some(bed) = Bed::make().await else { return };
    let wrapped = bed.root.wrap(&key(), &context()).await.unwrap();
    let fault = Fault::Refuse("ThrottlingException");
    bed.proxy.inject("Decrypt", 2, &fault);
    assert!(bed.root.unwrap(&wrapped, &context()).await.unwrap() == key());
    assert_eq!(bed.proxy.calls("Decrypt"), 3);
}

#[tokio::test]
async fn throttling_that_lasts_surfaces_with_a_time_to_try_again() {
    let Some(bed) = Bed::make().await else { return };
    let wrapped = bed.root.wrap(&key(), &context()).await.unwrap();
    let fault = Fault::Refuse("ThrottlingException");
    bed.proxy.inject("Decrypt", 4, &fault);
    let refused = bed.root.unwrap(&wrapped, &context()).await.unwrap_err();
    assert!(
        matches!(refused, CryptoError::Throttled { .. }),
        "{refused:?}"
    );
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(1)));
    assert_eq!(bed.proxy.calls("Decrypt"), 4, "attempts are bounded");
    assert!(bed.root.unwrap(&wrapped, &context()).await.is_ok());
}

#[tokio::test]
async fn a_refusal_for_good_is_not_tried_again() {
    let Some(bed) = Bed::make().await else { return };
    bed.administer("DisableKey", &bed.key).await;
    let refused = bed.root.wrap(&key(), &context()).await;
    assert!(matches!(refused, Err(CryptoError::RootDisabled)));
    assert_eq!(bed.proxy.calls("Encrypt"), 1);
}

#[tokio::test]
async fn a_connection_that_is_cut_is_made_again() {
    let Some(bed) = Bed::make().await else { return };
    let wrapped = bed.root.wrap(&key(), &context()).await.unwrap();
    bed.proxy.inject("Decrypt", 1, &Fault::Cut);
    assert!(bed.root.unwrap(&wrapped, &context()).await.unwrap() == key());

    // The HTTP client has attempts of its own on connections that it kept.
    bed.proxy.inject("Decrypt", 100, &Fault::Cut);
    let refused = bed.root.unwrap(&wrapped, &context()).await;
    assert!(matches!(refused, Err(CryptoError::Root(_))), "{refused:?}");
    let health = bed.root.health().await;
    assert_eq!(health, Health::Healthy, "other operations are not touched");
}

#[tokio::test]
async fn nobody_listening_is_a_failure_of_the_backend() {
    let Some(bed) = Bed::make().await else { return };
    let url = bed.proxy.url();
    let root = bed.another_process();
    drop(bed);
    let refused = root.wrap(&key(), &context()).await;
    let Err(CryptoError::Root(source)) = refused else {
        panic!("{refused:?} at {url}");
    };
    let failure = source.downcast_ref::<KmsFailure>().unwrap();
    assert_eq!((failure.operation(), failure.code()), ("Encrypt", None));
    assert!(std::error::Error::source(failure).is_some());
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_given_up_at_the_operation_timeout() {
    let Some(bed) = Bed::make().await else { return };
    let clock = clock();
    let mut config = bed.config();
    config.operation_timeout = Duration::from_secs(15);
    config.attempt_timeout = config.operation_timeout;
    config.connect_timeout = config.operation_timeout;
    let root = root_with(config, Arc::<ManualClock>::clone(&clock));
    bed.proxy.inject("Encrypt", 10, &Fault::Hang);

    let (key, context) = (key(), context());
    let mut wrapping = pin!(root.wrap(&key, &context));
    drive(&mut wrapping, || bed.proxy.calls("Encrypt") == 1).await;
    clock.advance(Duration::from_secs(14));
    assert!(poll_immediate(&mut wrapping).await.is_none());
    clock.advance(Duration::from_secs(2));
    let refused = wrapping.await;
    assert!(matches!(refused, Err(CryptoError::Root(_))), "{refused:?}");
    assert_eq!(bed.proxy.calls("Encrypt"), 1);
}

#[tokio::test]
async fn a_hanging_attempt_leaves_time_for_the_next() {
    let Some(bed) = Bed::make().await else { return };
    let clock = clock();
    let mut config = bed.config();
    config.operation_timeout = Duration::from_secs(60);
    config.attempt_timeout = Duration::from_secs(5);
    config.connect_timeout = Duration::from_secs(5);
    let root = root_with(config, Arc::<ManualClock>::clone(&clock));
    bed.proxy.inject("Encrypt", 1, &Fault::Hang);

    let (key, context) = (key(), context());
    let mut wrapping = pin!(root.wrap(&key, &context));
    drive(&mut wrapping, || bed.proxy.calls("Encrypt") == 1).await;
    clock.advance(Duration::from_secs(6));
    // Now it pauses, for a second at most.
    assert!(poll_immediate(&mut wrapping).await.is_none());
    clock.advance(Duration::from_secs(1));
    assert!(wrapping.await.is_ok());
    assert_eq!(bed.proxy.calls("Encrypt"), 2);
}

#[tokio::test]
async fn no_more_calls_are_under_way_than_configured() {
    let Some(bed) = Bed::make().await else { return };
    let mut config = bed.config();
    config.max_in_flight = 2;
    let root = Arc::new(root_with(config, clock()));
    bed.proxy.inject("Encrypt", 6, &Fault::Hold);
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let root = Arc::clone(&root);
            task::start(async move { root.wrap(&key(), &context()).await })
        })
        .collect();
    while bed.proxy.calls("Encrypt") < 2 {
        tokio::task::yield_now().await;
    }
    // Whoever would come in spite of the bound has come after these.
    let other = bed.another_process();
    for _ in 0..10 {
        assert_eq!(other.health().await, Health::Healthy);
    }
    assert_eq!(bed.proxy.calls("Encrypt"), 2);
    bed.proxy.release();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(bed.proxy.calls("Encrypt"), 6);
}

#[tokio::test]
async fn who_waits_for_a_turn_is_let_go_by_a_close() {
    let Some(bed) = Bed::make().await else { return };
    let mut config = bed.config();
    config.max_in_flight = 1;
    let root = root_with(config, clock());
    bed.proxy.inject("Encrypt", 1, &Fault::Hold);
    let (key, context) = (key(), context());
    let mut first = pin!(root.wrap(&key, &context));
    drive(&mut first, || bed.proxy.calls("Encrypt") == 1).await;
    let mut second = pin!(root.wrap(&key, &context));
    assert!(poll_immediate(&mut second).await.is_none());
    root.close().await;
    assert!(matches!(second.await, Err(CryptoError::Closed)));
    bed.proxy.release();
    assert!(first.await.is_ok(), "what was under way goes on");
}

#[tokio::test]
async fn waiting_for_a_turn_ends_as_well() {
    let Some(bed) = Bed::make().await else { return };
    let clock = clock();
    let mut config = bed.config();
    config.max_in_flight = 1;
    config.operation_timeout = Duration::from_secs(100);
    let root = root_with(config, Arc::<ManualClock>::clone(&clock));
    bed.proxy.inject("Encrypt", 10, &Fault::Hang);
    let (key, context) = (key(), context());
    let mut first = pin!(root.wrap(&key, &context));
    drive(&mut first, || bed.proxy.calls("Encrypt") == 1).await;
    let mut second = pin!(root.wrap(&key, &context));
    assert!(poll_immediate(&mut second).await.is_none());
    clock.advance(Duration::from_secs(101));
    let refused = second.await;
    let Err(CryptoError::Root(source)) = refused else {
        panic!("{refused:?}");
    };
    assert!(source.to_string().contains("wait too long"), "{source}");
}

/// Counts how often it is asked.
#[derive(Debug)]
struct Source {
    clock: Arc<ManualClock>,
    asked: Arc<AtomicUsize>,
    fails: bool,
}

#[async_trait]
impl CredentialSource for Source {
    async fn load(&self) -> Result<Credentials, CredentialError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.fails {
            return Err(CredentialError("role is gone".into()));
        }
        let secret = SecretText::new("secret".to_owned());
        Ok(Credentials {
            session_token: Some(SecretText::new("session".to_owned())),
            expires: Some(self.clock.wall().plus(Duration::from_secs(600))),
            ..Credentials::long_lived("AKIDEXAMPLE".to_owned(), secret)
        })
    }
}

fn root_by(bed: &Bed, fails: bool) -> (KmsRoot, Arc<ManualClock>, Arc<AtomicUsize>) {
    let (clock, asked) = (clock(), Arc::new(AtomicUsize::new(0)));
    let source = Source {
        clock: Arc::clone(&clock),
        asked: Arc::clone(&asked),
        fails,
    };
    let root = KmsRoot::new(KmsRootParts {
        config: bed.config(),
        credentials: Arc::new(source),
        clock: Arc::<ManualClock>::clone(&clock),
    });
    (root.unwrap(), clock, asked)
}

#[tokio::test]
async fn credentials_are_asked_for_once_until_they_end() {
    let Some(bed) = Bed::make().await else { return };
    let (root, clock, asked) = root_by(&bed, false);
    for _ in 0..3 {
        root.wrap(&key(), &context()).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    clock.advance(Duration::from_secs(601));
    root.wrap(&key(), &context()).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let Some(bed) = Bed::make().await else { return };
    let (root, _, _) = root_by(&bed, true);
    let refused = root.wrap(&key(), &context()).await.unwrap_err();
    assert!(matches!(refused, CryptoError::Root(_)), "{refused:?}");
    let mut causes = String::new();
    let mut source = std::error::Error::source(&refused);
    while let Some(error) = source {
        causes.push_str(&format!("{error}; "));
        source = error.source();
    }
    assert!(causes.contains("role is gone"), "{causes}");
    assert_eq!(bed.proxy.calls("Encrypt"), 0);
}
