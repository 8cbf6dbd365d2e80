//! A verifier that would take whatever algorithm a token names.

use std::sync::Arc;

use eonpro_auth::token::{Audience, Issuer, Jwks, StaticKeys, Verifier};

fn main() {
    let keys = Arc::new(StaticKeys::new(Jwks::of(Vec::new()).unwrap()));
    let _verifier = Verifier::builder()
        .issuer(Issuer::new("https://idp").unwrap())
        .audience(Audience::new("us").unwrap())
        .keys(keys)
        .build();
}
