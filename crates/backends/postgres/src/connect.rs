//! How connections are made: one way for the pool, the listener and the migration.
//!
//! A session's limits travel in the startup message, so they cost no round trip and cannot be
//! forgotten. The driver's own task is not used: it logs what the server says, which may quote values.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Connect;
use eonpro_core::task;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, Socket};
use tokio_postgres_rustls_improved::MakeRustlsConnect;

use crate::config::{PgConfig, PgServer, PgTls};
use crate::error::PgError;

/// What the server says unasked. It must be read on for the client to work.
pub(crate) type Messages = BoxStream<'static, Result<AsyncMessage, Error>>;

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Config,
    tls: Option<MakeRustlsConnect>,
}

impl Connector {
    pub(crate) fn new(config: &PgConfig) -> Result<Self, PgError> {
        config.check()?;
        let mut driver = Config::new();
        for server in &config.servers {
            match server {
                PgServer::Tcp { host, port } => driver.host(host).port(*port),
                PgServer::Unix { folder, port } => driver.host_path(folder).port(*port),
            };
        }
        driver
            .dbname(&config.database)
            .user(&config.user)
            .application_name("eonpro")
            .connect_timeout(config.connect_timeout)
            .keepalives_idle(config.ping_interval)
            .tcp_user_timeout(config.operation_timeout)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .options(session(config))
            .ssl_mode(SslMode::Disable);
        if !config.password.expose().is_empty() {
            driver.password(config.password.expose());
        }
        let tls = match &config.tls {
            PgTls::Off => None,
            PgTls::Verified { roots } => {
                driver.ssl_mode(SslMode::Require);
                Some(verified(roots)?)
            }
        };
        Ok(Self {
            config: driver,
            tls,
        })
    }

    /// What deadpool's manager wants beside [`Connect`].
    pub(crate) fn config(&self) -> Config {
        self.config.clone()
    }

    /// A connection in two halves.
    pub(crate) async fn open(&self) -> Result<(Client, Messages), Error> {
        match &self.tls {
            None => halves(&self.config, NoTls).await,
            Some(tls) => halves(&self.config, tls.clone()).await,
        }
    }

    /// A connection whose other half runs by itself.
    pub(crate) async fn run(&self) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, mut messages) = self.open().await?;
        let reading = async move { while let Some(Ok(_)) = messages.next().await {} };
        Ok((client, task::start(reading)))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connect for Connector {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        Box::pin(self.run())
    }
}

async fn halves<T>(config: &Config, tls: T) -> Result<(Client, Messages), Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, mut connection) = config.connect(tls).await?;
    let messages = futures_util::stream::poll_fn(move |cx| connection.poll_message(cx));
    Ok((client, messages.boxed()))
}

/// The settings of every session. Nothing of the role's or the database's own may change what our
/// statements mean.
fn session(config: &PgConfig) -> String {
    let ms = |span: Duration| span.as_millis().max(1);
    format!(
        "-c search_path=pg_catalog -c default_transaction_isolation=read\\ committed \
         -c log_parameter_max_length_on_error=0 -c lock_timeout={} -c statement_timeout={} -c idle_in_transaction_session_timeout={}",
        ms(config.lock_timeout),
        ms(config.statement_timeout),
        ms(config.operation_timeout),
    )
}

fn verified(roots: &str) -> Result<MakeRustlsConnect, PgError> {
    const WRONG: PgError = PgError::Config("tls roots, certificates in PEM");
    let mut store = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(roots.as_bytes()) {
        let certificate = certificate.map_err(|_| WRONG)?;
        store.add(certificate).map_err(|_| WRONG)?;
    }
    if store.is_empty() {
        return Err(WRONG);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| WRONG)?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
