//! A server on a loopback port that gives one answer to everything, and a request to send.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use eonpro_audit::tlog::{AddCheckpoint, KeyKind, KeyName, Note, SignatureLine, VerifierKey};
use eonpro_audit::{Checkpoint, KeyFileSigner, LogId, VerifyingKey};
use eonpro_core::event::Digest;
use eonpro_core::port::Signer as _;
use eonpro_core::task;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What the server answers.
#[derive(Debug, Clone)]
pub(crate) struct Says {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) body: String,
}

/// What was asked, by method, path, host and body.
pub(crate) type Asked = Arc<Mutex<Vec<[String; 4]>>>;

pub(crate) async fn serve(says: Says, tls: Option<TlsAcceptor>) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    task::start(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (says, seen) = (says.clone(), Arc::clone(&seen));
            match &tls {
                None => drop(task::start(answer(stream, says, seen))),
                Some(tls) => {
                    let accepted = tls.accept(stream);
                    drop(task::start(async move {
                        if let Ok(stream) = accepted.await {
                            answer(stream, says, seen).await;
                        }
                    }));
                }
            }
        }
    });
    (address, asked)
}

async fn answer<S>(stream: S, says: Says, seen: Asked)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (says, seen) = (says.clone(), Arc::clone(&seen));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let asked = [
                head.method.to_string(),
                head.uri.to_string(),
                head.headers["host"].to_str().unwrap().to_owned(),
                String::from_utf8(body.to_vec()).unwrap(),
            ];
            seen.lock().unwrap().push(asked);
            let answer = Response::builder()
                .status(says.status)
                .header("content-type", says.kind)
                .header("location", "/elsewhere")
                .body(Full::new(Bytes::from(says.body)));
            Ok::<_, Infallible>(answer.unwrap())
        }
    });
    let connection = hyper::server::conn::http1::Builder::new();
    let _ = connection
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

pub(crate) fn key() -> VerifierKey {
    let name = KeyName::parse("w1").unwrap();
    VerifierKey::new(
        name,
        KeyKind::Cosignature,
        VerifyingKey::from_bytes([7; 32]),
    )
}

/// A line that says it is the witness's.
pub(crate) fn line() -> SignatureLine {
    key().line(&[9; 72])
}

pub(crate) async fn request() -> AddCheckpoint {
    let dir = tempfile::tempdir().unwrap();
    let signer = KeyFileSigner::open_or_create(&dir.path().join("key")).unwrap();
    let head = Checkpoint {
        log: LogId::Directory,
        size: 5,
        root: Digest::of(b"root"),
    };
    assert_eq!(signer.public_key().len(), 32);
    let note = Note::parse(&head.sign(&signer).await.unwrap()).unwrap();
    AddCheckpoint::new(3, vec![Digest::of(b"proof")], note).unwrap()
}
