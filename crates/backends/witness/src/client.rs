//! One witness behind a URL: a connection, a request, a bounded answer.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use eonpro_audit::tlog::{AddCheckpoint, Answer, KeyKind, MAX_ANSWER_BYTES, Policy, VerifierKey};
use eonpro_audit::{Witness, WitnessError};
use futures_util::future::{Either, select};
use http::header::{CONTENT_TYPE, HOST};
use http::uri::{Authority, Scheme};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::HttpWitnessError;

/// The head of an answer is no longer.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// How witnesses with an `https` address are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WitnessTls {
    /// There are none: every address is `http` on a loopback address.
    Off,
    /// By TLS 1.2 or 1.3, with a server whose certificate leads to one of these roots (PEM) and is made
    /// out to the host.
    Verified {
        /// One or more certificates of authorities, such as the system's bundle.
        roots: String,
    },
}

impl WitnessTls {
    fn connector(&self) -> Result<Option<TlsConnector>, HttpWitnessError> {
        let Self::Verified { roots } = self else {
            return Ok(None);
        };
        const WRONG: HttpWitnessError = HttpWitnessError::Roots;
        let mut store = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(roots.as_bytes()) {
            store
                .add(certificate.map_err(|_| WRONG)?)
                .map_err(|_| WRONG)?;
        }
        if store.is_empty() {
            return Err(WRONG);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| WRONG)?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Some(TlsConnector::from(Arc::new(config))))
    }
}

/// The witnesses of `policy`, each at its URL. A witness without one is refused: leave it out of the
/// policy, or give it an address.
///
/// # Errors
/// [`HttpWitnessError`].
pub fn witnesses_of(
    policy: &Policy,
    tls: &WitnessTls,
) -> Result<Vec<Arc<dyn Witness>>, HttpWitnessError> {
    let mut witnesses: Vec<Arc<dyn Witness>> = Vec::new();
    for party in policy.witnesses() {
        let url = party.url().ok_or(HttpWitnessError::NoAddress)?;
        let url = str::from_utf8(url).map_err(|_| HttpWitnessError::Address)?;
        witnesses.push(Arc::new(HttpWitness::new(party.key().clone(), url, tls)?));
    }
    Ok(witnesses)
}

/// A witness behind a URL.
#[derive(Clone)]
pub struct HttpWitness {
    key: VerifierKey,
    authority: Authority,
    /// Path and query of a request.
    path: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl fmt::Debug for HttpWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpWitness")
            .field("name", &self.key.name().as_str())
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl HttpWitness {
    /// The witness with that key, whose requests go to `<url>/add-checkpoint`.
    ///
    /// # Errors
    /// [`HttpWitnessError`].
    pub fn new(key: VerifierKey, url: &str, tls: &WitnessTls) -> Result<Self, HttpWitnessError> {
        const ADDRESS: HttpWitnessError = HttpWitnessError::Address;
        if key.kind() != KeyKind::Cosignature {
            return Err(HttpWitnessError::Key);
        }
        let parts = url.parse::<Uri>().map_err(|_| ADDRESS)?.into_parts();
        let authority = parts.authority.ok_or(ADDRESS)?;
        let path = parts.path_and_query.ok_or(ADDRESS)?;
        if path.query().is_some() || authority.as_str().contains('@') {
            return Err(ADDRESS);
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (port, tls) = match parts.scheme {
            Some(scheme) if scheme == Scheme::HTTPS => {
                let connector = tls.connector()?.ok_or(HttpWitnessError::Roots)?;
                let name = ServerName::try_from(host).map_err(|_| ADDRESS)?;
                (443, Some((connector, name)))
            }
            Some(scheme) if scheme == Scheme::HTTP => {
                // A name may lead elsewhere.
                if !host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()) {
                    return Err(HttpWitnessError::Clear);
                }
                (80, None)
            }
            _ => return Err(ADDRESS),
        };
        Ok(Self {
            key,
            path: format!("{}/add-checkpoint", path.path().trim_end_matches('/')),
            port: authority.port_u16().unwrap_or(port),
            authority,
            tls,
        })
    }

    async fn ask(&self, body: String) -> Result<Answer, WitnessError> {
        let host = self.authority.host().trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.port)).await;
        let stream = stream.map_err(unreachable)?;
        match &self.tls {
            None => self.exchange(stream, body).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                self.exchange(stream.map_err(unreachable)?, body).await
            }
        }
    }

    async fn exchange<S>(&self, stream: S, body: String) -> Result<Answer, WitnessError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake::<_, Full<Bytes>>(TokioIo::new(stream))
            .await
            .map_err(unreachable)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(HOST, self.authority.as_str())
            .header(CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::new(Bytes::from(body)))
            .map_err(unreachable)?;
        let asking = Box::pin(async move {
            let response = sender.send_request(request).await.map_err(unreachable)?;
            let status = response.status().as_u16();
            let kind = response.headers().get(CONTENT_TYPE);
            let kind = kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned);
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
            let body = body.await.map_err(WitnessError::Unreachable)?.to_bytes();
            // What is no text is no answer, unless the status says all.
            let body = str::from_utf8(&body).unwrap_or_default();
            Ok(Answer::parse(status, kind.as_deref(), body)?)
        });
        // The connection ends when it is dropped, and so whenever the caller goes away.
        match select(asking, Box::pin(connection)).await {
            Either::Left((answer, _)) => answer,
            Either::Right((_, asking)) => asking.await,
        }
    }
}

fn unreachable(error: impl std::error::Error + Send + Sync + 'static) -> WitnessError {
    WitnessError::Unreachable(error.into())
}

#[async_trait]
impl Witness for HttpWitness {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    async fn add_checkpoint(&self, request: &AddCheckpoint) -> Result<Answer, WitnessError> {
        self.ask(request.to_string()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: KeyKind) -> VerifierKey {
        use eonpro_audit::VerifyingKey;
        use eonpro_audit::tlog::KeyName;
        let name = KeyName::parse("w").unwrap();
        VerifierKey::new(name, kind, VerifyingKey::from_bytes([7; 32]))
    }

    #[test]
    fn only_addresses_that_can_be_trusted_are_taken() {
        use HttpWitnessError::{Address, Clear, Roots};
        for (url, refused) in [
            ("http://127.0.0.1:7380", None),
            ("http://[::1]:7380/w1/", None),
            ("http://localhost:7380", Some(Clear)),
            ("http://10.0.0.1", Some(Clear)),
            ("https://witness.example", Some(Roots)),
            ("http://127.0.0.1?a=b", Some(Address)),
            ("http://a@127.0.0.1", Some(Address)),
            ("ftp://127.0.0.1", Some(Address)),
            ("127.0.0.1:80", Some(Address)),
            ("/path", Some(Address)),
            ("", Some(Address)),
        ] {
            let made = HttpWitness::new(key(KeyKind::Cosignature), url, &WitnessTls::Off);
            assert_eq!(made.err(), refused, "{url}");
        }
        let roots = "no certificate".to_owned();
        let tls = WitnessTls::Verified { roots };
        let made = HttpWitness::new(key(KeyKind::Cosignature), "https://a.example", &tls);
        assert_eq!(made.err(), Some(Roots));
        let made = HttpWitness::new(key(KeyKind::Note), "http://127.0.0.1", &WitnessTls::Off);
        assert_eq!(made.err(), Some(HttpWitnessError::Key));
    }

    #[test]
    fn the_request_goes_below_the_prefix() {
        for (url, path) in [
            ("http://127.0.0.1", "/add-checkpoint"),
            ("http://127.0.0.1/", "/add-checkpoint"),
            ("http://127.0.0.1/a/b/", "/a/b/add-checkpoint"),
        ] {
            let key = key(KeyKind::Cosignature);
            let made = HttpWitness::new(key, url, &WitnessTls::Off).unwrap();
            assert_eq!((&*made.path, made.port), (path, 80));
        }
    }
}
