//! Signatures and keys that the RFCs publish.

use eonpro_auth::token::{
    Algorithm, Audience, CompactJws, Issuer, Jwks, Reject, SharedSecret, StaticKeys, TypRule,
    Verifier,
};
use eonpro_core::time::Timestamp;
use std::sync::Arc;

// RFC 7515 appendix A.1 and A.2: {"iss":"joe", "exp":1300819380, "http://example.com/is_root":true}
const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

const RS256_KEY: &str = r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#;
const RS256_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

// RFC 7515 appendix A.3.
const ES256_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const ES256_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

// RFC 8037 appendix A.2 and A.4.
const EDDSA_KEY: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const EDDSA_TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

fn jwks(key: &str) -> Jwks {
    Jwks::parse(format!(r#"{{"keys":[{key}]}}"#).as_bytes()).unwrap()
}

fn published() -> [(&'static str, String, Algorithm); 3] {
    [
        (
            RS256_KEY,
            format!("eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}.{RS256_SIGNATURE}"),
            Algorithm::Rs256,
        ),
        (
            ES256_KEY,
            format!("eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}.{ES256_SIGNATURE}"),
            Algorithm::Es256,
        ),
        (EDDSA_KEY, EDDSA_TOKEN.to_owned(), Algorithm::EdDsa),
    ]
}

#[test]
fn the_published_signatures_verify_and_nothing_near_them_does() {
    for (key, token, algorithm) in published() {
        let jwks = jwks(key);
        let [key] = jwks.keys() else {
            panic!("{algorithm:?}: the published key was skipped")
        };
        assert_eq!(key.algorithm(), algorithm);
        let jws = CompactJws::parse(&token).unwrap();
        assert_eq!(jws.header().algorithm, algorithm);
        let (message, signature) = (jws.signed(), jws.signature());
        assert!(key.verify(message, signature).is_ok(), "{algorithm:?}");
        for at in [0, signature.len() / 2, signature.len() - 1] {
            let mut changed = signature.to_vec();
            changed[at] ^= 1;
            assert!(key.verify(message, &changed).is_err(), "{algorithm:?} {at}");
        }
        assert!(key.verify(&message[1..], signature).is_err());
        assert!(key.verify(message, &signature[1..]).is_err());
        assert!(key.verify(message, &[]).is_err());
        assert!(key.verify(message, &vec![0; signature.len()]).is_err());
    }
}

#[test]
fn a_good_signature_does_not_make_up_for_a_missing_audience() {
    let (key, token, algorithm) = &published()[0];
    let verifier = Verifier::builder()
        .issuer(Issuer::new("joe").unwrap())
        .audience(Audience::new("us").unwrap())
        .algorithms(&[*algorithm])
        .keys(Arc::new(StaticKeys::new(jwks(key))))
        .typ(TypRule::Untyped)
        .build();
    let now = Timestamp::from_seconds(1_300_819_379);
    let refused = verifier.verify(token, now).map(|_| ()).unwrap_err();
    assert_eq!(refused, Reject::AudienceMissing);
}

#[test]
fn hs256_is_verified_by_explicit_choice_only() {
    // RFC 7515 appendix A.1.
    let token = format!(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    let secret = [
        3, 35, 53, 75, 43, 15, 165, 188, 131, 126, 6, 101, 119, 123, 166, 143, 90, 179, 40, 230,
        240, 84, 201, 40, 169, 15, 132, 178, 210, 80, 46, 191, 211, 251, 90, 146, 210, 6, 71, 239,
        150, 138, 180, 195, 119, 98, 61, 34, 61, 46, 33, 114, 5, 46, 79, 8, 192, 205, 154, 245,
        103, 208, 128, 163,
    ];
    let named = || {
        Verifier::builder()
            .issuer(Issuer::new("joe").unwrap())
            .audience(Audience::new("us").unwrap())
            .typ(TypRule::Untyped)
    };
    let now = Timestamp::from_seconds(1_300_819_379);
    let chosen = named()
        .symmetric(SharedSecret::new(&secret).unwrap())
        .build();
    // The signature passed, or the audience would not have been looked at.
    assert_eq!(
        chosen.verify(&token, now).map(|_| ()),
        Err(Reject::AudienceMissing)
    );
    let asked_for = named()
        .algorithms(&[Algorithm::Hs256, Algorithm::Rs256])
        .keys(Arc::new(StaticKeys::new(jwks(RS256_KEY))))
        .build();
    assert_eq!(
        asked_for.verify(&token, now).map(|_| ()),
        Err(Reject::AlgNotAllowed)
    );
    assert!(SharedSecret::new(&secret[..31]).is_err());
}
