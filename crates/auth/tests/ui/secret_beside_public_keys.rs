//! A verifier that takes a shared secret beside public keys, as algorithm confusion needs it.

use std::sync::Arc;

use eonpro_auth::token::{Audience, Issuer, Jwks, SharedSecret, StaticKeys, Verifier};

fn main() {
    let keys = Arc::new(StaticKeys::new(Jwks::of(Vec::new()).unwrap()));
    let _verifier = Verifier::builder()
        .issuer(Issuer::new("https://idp").unwrap())
        .audience(Audience::new("us").unwrap())
        .keys(keys)
        .symmetric(SharedSecret::new(&[7; 32]).unwrap())
        .build();
}
