//! One moto server for all tests, and for each test a proxy and keys of its own.

use std::sync::Arc;
use std::time::Duration;

use eonpro_aws::{Credentials, KmsConfig, KmsRoot, KmsRootParts, StaticCredentials};
use eonpro_core::port::SealScope;
use eonpro_core::secret::{KeyBytes, SecretText};
use eonpro_core::time::{SharedClock, SystemClock};
use eonpro_encryption::{KeyId, WrapContext};
use eonpro_testkit::scope;
use eonpro_testkit::servers::{self, Server};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::proxy::Proxy;

pub(crate) const REGION: &str = "eu-central-1";
pub(crate) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// Ends with the process of the tests.
static MOTO: OnceCell<Option<Server>> = OnceCell::const_new();

pub(crate) async fn moto() -> Option<&'static Server> {
    let start = || async {
        let program = servers::require_tool("moto", "moto_server")?;
        let arguments = |port: u16| {
            ["-H", "127.0.0.1", "-p", &port.to_string()]
                .map(str::to_owned)
                .to_vec()
        };
        Some(Server::start(&program, arguments).await.unwrap())
    };
    MOTO.get_or_init(start).await.as_ref()
}

#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) proxy: Proxy,
    pub(crate) root: KmsRoot,
    /// The id of the root key.
    pub(crate) key: String,
    moto: &'static Server,
}

impl Bed {
    /// A root on a fresh key; `None` if moto is missing and not required.
    pub(crate) async fn make() -> Option<Self> {
        Some(Self::on(moto().await?).await)
    }

    /// Another bed, with a proxy and a root key of its own.
    pub(crate) async fn with_a_fresh_key(&self) -> Self {
        Self::on(self.moto).await
    }

    async fn on(moto: &'static Server) -> Self {
        let proxy = Proxy::before(moto.address()).await;
        let key = create_key(moto).await;
        let root = root_at(proxy.url(), &key);
        Self {
            proxy,
            root,
            key,
            moto,
        }
    }

    /// The settings of this bed's root.
    pub(crate) fn config(&self) -> KmsConfig {
        config_at(self.proxy.url(), &self.key)
    }

    /// Another root on this bed's key and proxy, as another process would have.
    pub(crate) fn another_process(&self) -> KmsRoot {
        root_at(self.proxy.url(), &self.key)
    }

    /// A root on this bed's key that asks moto itself.
    pub(crate) fn on_bare_moto(&self) -> KmsRoot {
        root_at(format!("http://{}", self.moto.address()), &self.key)
    }

    /// A root behind the same proxy on another key.
    pub(crate) async fn on_another_key(&self) -> KmsRoot {
        root_at(self.proxy.url(), &create_key(self.moto).await)
    }

    /// Asks moto for something about a key, past the proxy.
    pub(crate) async fn administer(&self, operation: &str, key: &str) -> Value {
        ask(self.moto, operation, json!({ "KeyId": key })).await
    }
}

pub(crate) fn config_at(url: String, key: &str) -> KmsConfig {
    KmsConfig {
        region: REGION.to_owned(),
        key: key.to_owned(),
        endpoint: Some(url),
        // Long enough for a machine that does much else: no test waits for them.
        connect_timeout: Duration::from_secs(100),
        attempt_timeout: Duration::from_secs(100),
        operation_timeout: Duration::from_secs(300),
        ..KmsConfig::default()
    }
}

fn root_at(url: String, key: &str) -> KmsRoot {
    root_with(config_at(url, key), Arc::new(SystemClock::new()))
}

pub(crate) fn root_with(config: KmsConfig, clock: SharedClock) -> KmsRoot {
    let secret = SecretText::new(SECRET.to_owned());
    let credentials = Credentials::long_lived("AKIDEXAMPLE".to_owned(), secret);
    KmsRoot::new(KmsRootParts {
        config,
        credentials: Arc::new(StaticCredentials::new(credentials)),
        clock,
    })
    .unwrap()
}

async fn create_key(moto: &Server) -> String {
    let made = ask(moto, "CreateKey", json!({})).await;
    made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned()
}

async fn ask(moto: &Server, operation: &str, question: Value) -> Value {
    let scope = format!("AWS4-HMAC-SHA256 Credential=a/20261128/{REGION}/kms/aws4_request");
    let request = Request::post(format!("http://{}/", moto.address()))
        .header("x-amz-target", format!("TrentService.{operation}"))
        .header("content-type", "application/x-amz-json-1.1")
        .header("authorization", scope)
        .body(Full::new(Bytes::from(question.to_string())))
        .unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.unwrap();
    assert!(answer.status().is_success(), "{operation}: {}", moto.log());
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap_or_default()
}

pub(crate) fn key() -> KeyBytes<32> {
    KeyBytes::take(&mut [7; 32])
}

pub(crate) fn context() -> WrapContext {
    WrapContext {
        scope: SealScope::from(&scope(1)),
        key: KeyId::from_be_bytes([0, 0, 0, 1]),
    }
}

/// Each differs from [`context`] in one thing.
pub(crate) fn other_contexts() -> [WrapContext; 3] {
    [
        WrapContext {
            scope: SealScope::from(&scope(2)),
            ..context()
        },
        WrapContext {
            scope: SealScope::System,
            ..context()
        },
        WrapContext {
            key: KeyId::from_be_bytes([0, 0, 0, 2]),
            ..context()
        },
    ]
}
