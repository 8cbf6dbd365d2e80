//! The server: bounded connections, bodies and times, and nothing but `POST /add-checkpoint`.

use std::convert::Infallible;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use eonpro::audit::tlog::{
    AddCheckpoint, Answer, Cosignature, KeyKind, KeyName, MAX_REQUEST_BYTES, Policy, Refusal,
    VerifierKey,
};
use eonpro::audit::{KeyFileSigner, VerifyingKey};
use eonpro::core::port::Signer as _;
use eonpro::core::task;
use eonpro::core::time::{SharedClock, SystemClock};
use futures_util::future::select;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::args::Args;
use crate::store::{Denied, Store};

/// Connections at a time; more wait in the system's queue.
const CONNECTIONS: usize = 64;
/// How long a connection lives at most, whatever it does.
const LIFE: Duration = Duration::from_secs(30);

/// A witness.
#[derive(Debug)]
struct Server {
    store: Store,
    signer: KeyFileSigner,
    key: VerifierKey,
    clock: SharedClock,
}

/// Serves until the process ends. Says on `out` where it listens and what its key is.
pub(crate) async fn serve(args: Args, mut out: impl Write) -> Result<(), String> {
    let said = |what: &'static str| move |error: &dyn std::fmt::Display| format!("{what}: {error}");
    let server = Arc::new(open(&args)?);
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|error| said("--listen")(&error))?;
    let address = listener
        .local_addr()
        .map_err(|error| said("--listen")(&error))?;
    let told = writeln!(out, "listening {address}\nkey {}", server.key);
    told.and_then(|()| out.flush())
        .map_err(|error| said("stdout")(&error))?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return Ok(());
        };
        // An error of one connection is none of the listener.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let server = Arc::clone(&server);
        task::start(async move {
            let until = server.clock.monotonic().plus(LIFE);
            let late = server.clock.sleep_until(until);
            let answering = Arc::clone(&server);
            let service = service_fn(move |request| {
                let server = Arc::clone(&answering);
                async move { Ok::<_, Infallible>(server.answer(request).await) }
            });
            let connection = http1::Builder::new()
                .keep_alive(false)
                .max_buf_size(16 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            let _ = select(Box::pin(connection), late).await;
            drop(permit);
        });
    }
}

fn open(args: &Args) -> Result<Server, String> {
    let policy = std::fs::read(&args.logs).map_err(|error| format!("--logs: {error}"))?;
    let policy = Policy::parse(&policy).map_err(|error| format!("--logs: {error}"))?;
    let logs = policy.logs().iter().map(|log| log.key().clone()).collect();
    let signer = KeyFileSigner::open_or_create(&args.key);
    let signer = signer.map_err(|error| format!("--key: {error}"))?;
    let name = KeyName::parse(&args.name).ok_or("--name is no name of a key")?;
    let public = VerifyingKey::from_bytes(signer.public_key());
    let store = Store::open(&args.state, logs).map_err(|error| format!("--state: {error}"))?;
    Ok(Server {
        store,
        signer,
        key: VerifierKey::new(name, KeyKind::Cosignature, public),
        clock: Arc::new(SystemClock::new()),
    })
}

impl Server {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() != "/add-checkpoint" {
            return bare(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::POST {
            return bare(StatusCode::METHOD_NOT_ALLOWED);
        }
        let body = Limited::new(request.into_body(), MAX_REQUEST_BYTES)
            .collect()
            .await;
        let body = body.ok().map(|body| body.to_bytes());
        let body = body.and_then(|body| String::from_utf8(body.to_vec()).ok());
        // What is too long or cut short is malformed, as what is no text.
        let asked = body.ok_or(Refusal::Malformed);
        let asked = asked.and_then(|body| AddCheckpoint::parse(&body));
        let answer = match asked {
            Ok(asked) => self.decide(asked).await,
            Err(refusal) => Some(Answer::Refused(refusal)),
        };
        answer.map_or_else(
            || bare(StatusCode::INTERNAL_SERVER_ERROR),
            |answer| full(&answer),
        )
    }

    /// `None` if the state or the key fails.
    async fn decide(self: Arc<Self>, asked: AddCheckpoint) -> Option<Answer> {
        let deciding = Arc::clone(&self);
        let decided = task::blocking(move || (deciding.store.decide(&asked), asked)).await;
        let (decided, asked) = decided.ok()?;
        match decided {
            Ok(()) => {}
            Err(Denied::Refused(refusal)) => return Some(Answer::Refused(refusal)),
            Err(Denied::Broken(error)) => {
                tracing::error!(%error, "the state of the witness is broken");
                return None;
            }
        }
        let now = u64::try_from(self.clock.wall().seconds()).ok()?;
        let message = Cosignature::message(now, asked.checkpoint().text())?;
        let signature = self.signer.sign(message.as_bytes()).await.ok()?;
        let line = self.key.line(&Cosignature::new(now, signature)?.to_bytes());
        Some(Answer::Cosigned(vec![line]))
    }
}

fn full(answer: &Answer) -> Response<Full<Bytes>> {
    let mut response = bare(StatusCode::from_u16(answer.status()).unwrap_or_default());
    if let Ok(kind) = answer.content_type().parse() {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    *response.body_mut() = Full::new(Bytes::from(answer.body()));
    response
}

fn bare(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
