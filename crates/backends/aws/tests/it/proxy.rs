//! A proxy before moto: keeps the rules that moto does not keep, breaks what it is told to break, and
//! remembers what it saw.
//!
//! moto encrypts and decrypts with keys that are disabled or pending deletion; KMS does not. And moto
//! answers `AccessDeniedException` where KMS answers `IncorrectKeyException`: when `Decrypt` names a
//! key that did not make the ciphertext.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use eonpro_core::task;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

const TARGET: &str = "x-amz-target";

/// The id of every request, as the answers tell it.
pub(crate) const REQUEST_ID: &str = "00000000-0000-4000-8000-00000000cafe";

/// What happens to a call instead of what should.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is answered with status 400 and this code.
    Refuse(&'static str),
    /// It is answered with this text.
    Say(u16, String),
    /// It is never answered.
    Hang,
    /// The connection is cut.
    Cut,
    /// It waits until [`Proxy::release`].
    Hold,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    faults: Mutex<HashMap<String, VecDeque<Fault>>>,
    seen: Mutex<Vec<(String, Value)>>,
    released: watch::Sender<bool>,
}

#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub(crate) async fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            client: Client::builder(TokioExecutor::new()).build_http(),
            faults: Mutex::default(),
            seen: Mutex::default(),
            released: watch::Sender::new(false),
        });
        let accepting = task::start(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next `times` calls of `operation` meet `fault`.
    pub(crate) fn inject(&self, operation: &str, times: usize, fault: &Fault) {
        let mut faults = self.shared.faults.lock().unwrap();
        let queue = faults.entry(operation.to_owned()).or_default();
        queue.extend(std::iter::repeat_n(fault.clone(), times));
    }

    /// Lets all calls go on that were held.
    pub(crate) fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// The bodies of the calls of `operation`, each attempt for itself.
    pub(crate) fn seen(&self, operation: &str) -> Vec<Value> {
        let seen = self.shared.seen.lock().unwrap();
        let of_it = seen.iter().filter(|(name, _)| name == operation);
        of_it.map(|(_, body)| body.clone()).collect()
    }

    pub(crate) fn calls(&self, operation: &str) -> usize {
        self.seen(operation).len()
    }

    pub(crate) fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        drop(task::start(connection));
    }
}

/// An error cuts the connection.
#[derive(Debug)]
struct CutOff;

impl std::fmt::Display for CutOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut off")
    }
}

impl std::error::Error for CutOff {}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, CutOff> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| CutOff)?.to_bytes();
    let target = parts
        .headers
        .get(TARGET)
        .and_then(|name| name.to_str().ok());
    let operation = target
        .and_then(|target| target.strip_prefix("TrentService."))
        .unwrap_or("?")
        .to_owned();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    shared
        .seen
        .lock()
        .unwrap()
        .push((operation.clone(), asked.clone()));

    let fault = shared
        .faults
        .lock()
        .unwrap()
        .get_mut(&operation)
        .and_then(VecDeque::pop_front);
    match fault {
        None => {}
        Some(Fault::Refuse(code)) => return Ok(refusal(code)),
        Some(Fault::Say(status, text)) => return Ok(said(status, text)),
        Some(Fault::Cut) => return Err(CutOff),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Hold) => {
            let mut released = shared.released.subscribe();
            let _the_sender_lives = released.wait_for(|released| *released).await;
        }
    }
    if uses_a_key(&operation)
        && let Some(code) = why_not(&shared, &parts.headers, &asked).await
    {
        return Ok(refusal(code));
    }
    let (status, answer) = forward(&shared, &parts.headers, body).await;
    let denied = String::from_utf8_lossy(&answer).contains("AccessDeniedException");
    if operation == "Decrypt" && denied {
        return Ok(refusal("IncorrectKeyException"));
    }
    Ok(response(status, answer))
}

fn uses_a_key(operation: &str) -> bool {
    matches!(operation, "Encrypt" | "Decrypt" | "ReEncrypt")
        || operation.starts_with("GenerateDataKey")
}

/// Why KMS would refuse to use the key, if it would.
async fn why_not(shared: &Shared, headers: &HeaderMap, asked: &Value) -> Option<&'static str> {
    let Some(key) = asked.get("KeyId") else {
        return Some("ValidationException");
    };
    let mut headers = headers.clone();
    headers.insert(TARGET, "TrentService.DescribeKey".parse().unwrap());
    let question = json!({ "KeyId": key }).to_string();
    let (_, answer) = forward(shared, &headers, question.into()).await;
    let about: Value = serde_json::from_slice(&answer).unwrap_or_default();
    match about["KeyMetadata"]["KeyState"].as_str() {
        Some("Disabled") => Some("DisabledException"),
        Some("PendingDeletion") => Some("KMSInvalidStateException"),
        // Also when there is no such key: that is moto's to say.
        _ => None,
    }
}

async fn forward(shared: &Shared, headers: &HeaderMap, body: Bytes) -> (StatusCode, Bytes) {
    let mut request = Request::post(format!("http://{}/", shared.upstream));
    for (name, value) in headers {
        if name != HOST && name != CONTENT_LENGTH {
            request = request.header(name, value);
        }
    }
    let request = request.body(Full::new(body)).unwrap();
    let answer = shared.client.request(request).await.unwrap();
    let status = answer.status();
    (
        status,
        answer.into_body().collect().await.unwrap().to_bytes(),
    )
}

fn refusal(code: &str) -> Response<Full<Bytes>> {
    let body = json!({ "__type": code, "message": "so says the proxy" });
    response(StatusCode::BAD_REQUEST, body.to_string().into())
}

fn said(status: u16, text: String) -> Response<Full<Bytes>> {
    response(StatusCode::from_u16(status).unwrap(), text.into())
}

fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/x-amz-json-1.1")
        .header("x-amzn-requestid", REQUEST_ID)
        .body(Full::new(body))
        .unwrap()
}
