//! Where the server is, who we are there, and the limits; with their bounds.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use eonpro_core::secret::SecretText;

use crate::error::PgError;

/// The longest name of a schema, in bytes: the name of the channel is made of it.
const MAX_SCHEMA_BYTES: usize = 40;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PgServer {
    /// On the network.
    Tcp {
        /// A name or an address; what the certificate must be made out to.
        host: String,
        /// 5432 as a rule.
        port: u16,
    },
    /// On a socket of this machine.
    Unix {
        /// The folder of the socket, absolute, such as `/var/run/postgresql`.
        folder: PathBuf,
        /// The number in the socket's name.
        port: u16,
    },
}

impl PgServer {
    /// Whether what is said to it stays on this machine. A name may lead elsewhere.
    fn is_here(&self) -> bool {
        match self {
            Self::Unix { .. } => true,
            Self::Tcp { host, .. } => host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        }
    }
}

/// Whether connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PgTls {
    /// Not. Refused unless every server is on a Unix socket or a loopback address.
    Off,
    /// By TLS 1.2 or 1.3 alone, with a server whose certificate leads to one of these roots (PEM)
    /// and is made out to its host.
    Verified {
        /// One or more certificates of authorities.
        roots: String,
    },
}

/// Settings of a [`PgKeyValue`](crate::PgKeyValue). `servers`, `database` and `user` have no default
/// and must be set.
#[derive(Debug)]
pub struct PgConfig {
    /// The servers of one cluster. The first that accepts writes is used, so a replica that was
    /// promoted is found.
    pub servers: Vec<PgServer>,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// Its password; empty for none. The driver keeps a copy that is not wiped.
    pub password: SecretText,
    /// Where the tables lie: 1 to 40 lowercase letters, digits and `_`, no digit first. Default
    /// `eonpro`.
    pub schema: String,
    /// Whether connections are encrypted. Default [`PgTls::Off`].
    pub tls: PgTls,
    /// The most connections, besides one that listens if anything is watched. 1 to 1,024, default 16.
    pub connections: usize,
    /// How long an operation may wait for a connection to become free. Default 2 s.
    pub wait_timeout: Duration,
    /// How long a connection may take to be made. Default 5 s.
    pub connect_timeout: Duration,
    /// How long a statement may wait for a lock, which is how long commits of one partition may
    /// queue. At most `statement_timeout`. Default 3 s.
    pub lock_timeout: Duration,
    /// How long the server may work on a statement. At most `operation_timeout`. Default 5 s.
    pub statement_timeout: Duration,
    /// How long until an operation that has its connection is given up. 1 ms to 5 min, default 10 s.
    pub operation_timeout: Duration,
    /// How often the listening connection is tried. 1 ms to 5 min, default 15 s.
    pub ping_interval: Duration,
    /// The most bytes of keys and values in one transaction. 1 MiB to 256 MiB, default 64 MiB.
    pub max_transaction_bytes: usize,
}

impl Default for PgConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            database: String::new(),
            user: String::new(),
            password: SecretText::new(String::new()),
            schema: "eonpro".to_owned(),
            tls: PgTls::Off,
            connections: 16,
            wait_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(15),
            max_transaction_bytes: 64 * 1024 * 1024,
        }
    }
}

impl PgConfig {
    /// Checks the bounds, and that nothing leaves this machine in clear.
    ///
    /// # Errors
    /// [`PgError::Config`] naming the setting.
    pub fn check(&self) -> Result<(), PgError> {
        let whole = Duration::from_millis(1)..=Duration::from_secs(300);
        let mib = 1024 * 1024;
        let rules = [
            (!self.servers.is_empty(), "servers, at least one"),
            (
                self.servers.iter().all(is_address),
                "hosts and absolute folders",
            ),
            (is_name(&self.database), "database"),
            (is_name(&self.user), "user"),
            (is_schema(&self.schema), "schema such as eonpro"),
            (
                self.is_private(),
                "tls, needed beyond this machine and not for sockets",
            ),
            (
                (1..=1024).contains(&self.connections),
                "connections of 1 to 1,024",
            ),
            (
                whole.contains(&self.wait_timeout),
                "wait_timeout of 1 ms to 5 min",
            ),
            (
                whole.contains(&self.connect_timeout),
                "connect_timeout of 1 ms to 5 min",
            ),
            (
                whole.contains(&self.operation_timeout),
                "operation_timeout of 1 ms to 5 min",
            ),
            (
                whole.contains(&self.ping_interval),
                "ping_interval of 1 ms to 5 min",
            ),
            (
                whole.contains(&self.statement_timeout)
                    && self.statement_timeout <= self.operation_timeout,
                "statement_timeout within operation_timeout",
            ),
            (
                whole.contains(&self.lock_timeout) && self.lock_timeout <= self.statement_timeout,
                "lock_timeout within statement_timeout",
            ),
            (
                (mib..=256 * mib).contains(&self.max_transaction_bytes),
                "max_transaction_bytes of 1 to 256 MiB",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, setting)) => Err(PgError::Config(setting)),
            None => Ok(()),
        }
    }

    fn is_private(&self) -> bool {
        let is_socket = |server: &PgServer| matches!(server, PgServer::Unix { .. });
        match self.tls {
            PgTls::Off => self.servers.iter().all(PgServer::is_here),
            PgTls::Verified { .. } => !self.servers.iter().any(is_socket),
        }
    }
}

fn is_address(server: &PgServer) -> bool {
    match server {
        // The driver takes a host that begins with a slash for the folder of a socket.
        PgServer::Tcp { host, .. } => is_name(host) && !host.starts_with('/'),
        PgServer::Unix { folder, .. } => folder.is_absolute(),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('\0')
}

fn is_schema(schema: &str) -> bool {
    let begins = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    schema.len() <= MAX_SCHEMA_BYTES
        && schema.bytes().next().is_some_and(begins)
        && schema
            .bytes()
            .all(|byte| begins(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str) -> PgConfig {
        PgConfig {
            servers: vec![PgServer::Tcp {
                host: host.to_owned(),
                port: 5432,
            }],
            database: "d".to_owned(),
            user: "u".to_owned(),
            password: SecretText::new("hunter2".to_owned()),
            ..PgConfig::default()
        }
    }

    #[test]
    fn without_tls_nothing_leaves_this_machine() {
        for host in ["127.0.0.1", "127.9.9.9", "::1"] {
            assert_eq!(tcp(host).check(), Ok(()), "{host}");
        }
        for host in [
            "10.0.0.1",
            "localhost",
            "db.example",
            "::",
            "0.0.0.0",
            "/tmp",
        ] {
            assert!(tcp(host).check().is_err(), "{host}");
        }
        let roots = String::new();
        let config = PgConfig {
            tls: PgTls::Verified { roots },
            ..tcp("db.example")
        };
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn a_schema_is_a_plain_name() {
        for (schema, fits) in [
            ("eonpro", true),
            ("_a1", true),
            ("", false),
            ("1a", false),
            ("Eonpro", false),
            ("a\"; drop", false),
            (&"a".repeat(41), false),
        ] {
            let config = PgConfig {
                schema: schema.to_owned(),
                ..tcp("127.0.0.1")
            };
            assert_eq!(config.check().is_ok(), fits, "{schema}");
        }
    }

    #[test]
    fn a_configuration_does_not_tell_its_password() {
        assert!(!format!("{:?}", tcp("127.0.0.1")).contains("hunter2"));
    }
}
