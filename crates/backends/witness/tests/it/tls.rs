//! A server is believed only if its certificate leads to the roots and names the host.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use eonpro_audit::{Witness as _, WitnessError};
use eonpro_testkit::servers::{require, tool};
use eonpro_witness::{HttpWitness, WitnessTls};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::bed::{Says, key, line, request, serve};

/// A certificate that vouches for itself and 127.0.0.1, and its key, in PEM.
fn certificate(openssl: &Path, dir: &Path, name: &str) -> (String, String) {
    let (cert, key) = (
        dir.join(format!("{name}.pem")),
        dir.join(format!("{name}.key")),
    );
    let made = Command::new(openssl)
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=witness"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    (read(&cert), read(&key))
}

fn acceptor(cert: &str, key: &str) -> TlsAcceptor {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.unwrap(), key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

#[tokio::test]
async fn a_server_is_believed_only_if_its_certificate_leads_to_the_roots_and_names_the_host() {
    let openssl = require(tool("openssl"), "openssl", "openssl");
    let Some(openssl) = openssl else { return };
    let dir = tempfile::tempdir().unwrap();
    let (cert, secret) = certificate(&openssl, dir.path(), "good");
    let (other, _) = certificate(&openssl, dir.path(), "other");
    let says = Says {
        status: 200,
        kind: "text/plain",
        body: line().to_string(),
    };
    let (address, asked) = serve(says.clone(), Some(acceptor(&cert, &secret))).await;
    let port = address.port();
    let request = request().await;
    let ask = async |url: String, roots: &str| {
        let roots = roots.to_owned();
        let witness = HttpWitness::new(key(), &url, &WitnessTls::Verified { roots }).unwrap();
        witness.add_checkpoint(&request).await
    };
    ask(format!("https://127.0.0.1:{port}"), &cert)
        .await
        .unwrap();
    assert_eq!(asked.lock().unwrap().len(), 1);
    for (url, roots) in [
        (format!("https://127.0.0.1:{port}"), &other),
        (format!("https://localhost:{port}"), &cert),
    ] {
        let refused = ask(url, roots).await;
        assert!(
            matches!(refused, Err(WitnessError::Unreachable(_))),
            "{refused:?}"
        );
    }
    // A server without TLS is not spoken to in clear.
    let (address, clear) = serve(says, None).await;
    let refused = ask(format!("https://127.0.0.1:{}", address.port()), &cert).await;
    assert!(
        matches!(refused, Err(WitnessError::Unreachable(_))),
        "{refused:?}"
    );
    assert_eq!(
        (asked.lock().unwrap().len(), clear.lock().unwrap().len()),
        (1, 0)
    );
}
