//! A verifier that does not say for whom tokens must be issued.

use std::sync::Arc;

use eonpro_auth::token::{Algorithm, Issuer, Jwks, StaticKeys, Verifier};

fn main() {
    let keys = Arc::new(StaticKeys::new(Jwks::of(Vec::new()).unwrap()));
    let _verifier = Verifier::builder()
        .issuer(Issuer::new("https://idp").unwrap())
        .algorithms(&[Algorithm::EdDsa])
        .keys(keys)
        .build();
}
