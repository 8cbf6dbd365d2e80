//! Witnesses of the audit log that are asked over HTTP, as C2SP tlog-witness says.
//!
//! One connection a request, HTTP/1.1, TLS by rustls. What a witness answers is bounded and not believed:
//! the log checks each cosignature. Redirects are not followed.
//!
//! ```
//! use eonpro_audit::tlog::Policy;
//! use eonpro_audit::{AuditConfig, Witnesses};
//! use eonpro_witness::{WitnessTls, witnesses_of};
//!
//! fn configured(policy: &str) -> Result<AuditConfig, Box<dyn std::error::Error>> {
//!     let policy = Policy::parse(policy.as_bytes())?;
//!     let asked = witnesses_of(&policy, &WitnessTls::Off)?;
//!     let mut config = AuditConfig::default();
//!     config.witnesses = Some(Witnesses::new(policy, asked)?);
//!     Ok(config)
//! }
//!
//! # let key = "w+790f262a+BA7wZRoVJP8EnHWj9Og9GvhEkCw2wEVMFtdPKdGfgTc0";
//! # configured(&format!("witness w {key} http://127.0.0.1:7380\nquorum w\n")).unwrap();
//! ```

mod client;
mod error;

pub use client::{HttpWitness, WitnessTls, witnesses_of};
pub use error::HttpWitnessError;
