//! What is embedded: the service on the store at hand, and an issuer for development.

mod dev_issuer;
mod embedded;

pub use dev_issuer::{DevIssuer, NewToken};
pub use embedded::{AuthParts, EmbeddedAuth};
