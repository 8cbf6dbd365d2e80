//! Buckets on a real moto server, through `object_store` and through bare requests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use eonpro_audit::archive::{DefaultLock, LockMode, LockProbe, ObjectLock};
use eonpro_core::error::Source;
use eonpro_core::time::Timestamp;
use eonpro_testkit::servers::Server;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::TokioExecutor;
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientOptions, ObjectStore};

use crate::bed::{REGION, SECRET};

const SCOPE: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261128/eu-central-1/s3/aws4_request";

/// Plain HTTP by hyper: object_store's own client brings another one.
#[derive(Debug)]
struct Plain(Client<Tcp, HttpRequestBody>);

#[async_trait]
impl HttpService for Plain {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.0.request(request).await;
        let answer = answer.map_err(|error| HttpError::new(HttpErrorKind::Request, error))?;
        let (parts, body) = answer.into_parts();
        let body = body.map_err(|error| HttpError::new(HttpErrorKind::Decode, error));
        Ok(Response::from_parts(parts, HttpResponseBody::new(body)))
    }
}

#[derive(Debug)]
struct PlainConnector;

impl HttpConnector for PlainConnector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(HttpClient::new(Plain(client)))
    }
}

/// A bucket with versions, and perhaps Object Lock, of its own.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    url: String,
    name: String,
}

impl Bucket {
    /// With Object Lock and a default retention of so many days in compliance mode.
    pub(crate) async fn locked(moto: &Server, name: &str, days: u32) -> Self {
        let bucket = Self::at(moto, name);
        let lock = [("x-amz-bucket-object-lock-enabled", "true")];
        bucket.make(&lock).await;
        let rule = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
             <DefaultRetention><Mode>COMPLIANCE</Mode><Days>{days}</Days></DefaultRetention>\
             </Rule></ObjectLockConfiguration>"
        );
        bucket.expect(Method::PUT, "?object-lock", &[], &rule).await;
        bucket
    }

    /// With versions alone.
    pub(crate) async fn versioned(moto: &Server, name: &str) -> Self {
        let bucket = Self::at(moto, name);
        bucket.make(&[]).await;
        let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        bucket.expect(Method::PUT, "?versioning", &[], on).await;
        bucket
    }

    fn at(moto: &Server, name: &str) -> Self {
        Self {
            url: format!("http://{}", moto.address()),
            name: name.to_owned(),
        }
    }

    async fn make(&self, headers: &[(&str, &str)]) {
        let place = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint>\
             </CreateBucketConfiguration>"
        );
        self.expect(Method::PUT, "", headers, &place).await;
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        // A bucket with Object Lock wants to be told which checksum comes, on some servers by this, too.
        let mut headers = HeaderMap::new();
        let name = HeaderName::from_static("x-amz-sdk-checksum-algorithm");
        headers.insert(name, HeaderValue::from_static("SHA256"));
        let options = ClientOptions::new().with_default_headers(headers);
        let store = AmazonS3Builder::new()
            .with_client_options(options)
            .with_endpoint(&self.url)
            .with_allow_http(true)
            .with_region(REGION)
            .with_bucket_name(&self.name)
            .with_access_key_id("AKIDEXAMPLE")
            .with_secret_access_key(SECRET)
            .with_checksum_algorithm(Checksum::SHA256)
            .with_http_connector(PlainConnector)
            .build();
        Arc::new(store.unwrap())
    }

    /// Status, headers and body of a request past `object_store`.
    pub(crate) async fn ask(
        &self,
        method: Method,
        rest: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/{}{rest}", self.url, self.name))
            .header("authorization", SCOPE);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .unwrap();
        let client: Client<Tcp, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let (parts, body) = client.request(request).await.unwrap().into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }

    async fn expect(&self, method: Method, rest: &str, headers: &[(&str, &str)], body: &str) {
        let answer = self.ask(method, rest, headers, body).await;
        assert!(answer.status().is_success(), "{rest}: {answer:?}");
    }
}

/// Asks for locks as any S3 client does.
#[derive(Debug)]
pub(crate) struct S3Probe(pub(crate) Bucket);

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    text.split_once(from)?
        .1
        .split_once(to)
        .map(|(found, _)| found)
}

fn mode(text: &str) -> Option<LockMode> {
    match text {
        "COMPLIANCE" => Some(LockMode::Compliance),
        "GOVERNANCE" => Some(LockMode::Governance),
        _ => None,
    }
}

#[async_trait]
impl LockProbe for S3Probe {
    async fn default_lock(&self) -> Result<Option<DefaultLock>, Source> {
        let answer = self.0.ask(Method::GET, "?object-lock", &[], "").await;
        let text = String::from_utf8(answer.into_body().to_vec())?;
        let found = between(&text, "<Mode>", "</Mode>").and_then(mode);
        let days = between(&text, "<Days>", "</Days>").and_then(|days| days.parse::<u64>().ok());
        Ok(found.zip(days).map(|(mode, days)| DefaultLock {
            mode,
            retention: Duration::from_secs(days * 86_400),
        }))
    }

    async fn object_lock(&self, key: &str, version: &str) -> Result<Option<ObjectLock>, Source> {
        let rest = format!("/{key}?versionId={version}");
        let answer = self.0.ask(Method::HEAD, &rest, &[], "").await;
        let header = |name| {
            answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let mode = header("x-amz-object-lock-mode").and_then(mode);
        let until = header("x-amz-object-lock-retain-until-date");
        let until = until.and_then(Timestamp::parse_rfc3339);
        Ok(mode
            .zip(until)
            .map(|(mode, until)| ObjectLock { mode, until }))
    }
}
