//! The one place where auth vouches for an identity.
//!
//! Whoever holds a [`VerifiedIdentity`] may be let in, so there is a single call that makes one,
//! fed by a verified token or by a session that a verified token opened.

use std::sync::Arc;

use eonpro_core::identity::{Aal, Actor, ActorKind, Assurance, IdentityClaims};
use eonpro_core::scope::Authority;
use eonpro_core::time::Timestamp;
use eonpro_core::{RequestContext, VerifiedIdentity};

use crate::token::{Claims, Issuer};

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where auth vouches for an identity"
)]
const AUTHORITY: Authority = Authority::assume("auth verified a token, a password or a session");

/// Vouches for `claims`.
pub(crate) fn vouch(claims: IdentityClaims) -> VerifiedIdentity {
    AUTHORITY.vouch(claims)
}

/// `cx` in the name of `identity`: a sign-in is announced as that of whoever signed in.
pub(crate) fn identified(cx: &RequestContext, identity: &VerifiedIdentity) -> RequestContext {
    AUTHORITY.identify(cx.clone(), identity)
}

/// The identity that verified token claims establish.
pub(crate) fn from_token(issuer: &Issuer, claims: &Claims) -> VerifiedIdentity {
    let kind = if claims.own_client {
        ActorKind::Service
    } else {
        ActorKind::User
    };
    vouch(IdentityClaims {
        issuer: issuer.shared(),
        actor: Actor {
            kind,
            id: claims.subject.clone(),
            roles: claims.roles.clone().into(),
            session: None,
        },
        tenant: claims.tenant,
        assurance: Assurance {
            aal: level(&claims.methods),
            amr: claims.methods.clone().into(),
            at: claims.authenticated,
        },
        expires: claims.expires,
    })
}

/// The assurance level that methods of RFC 8176 show (NIST SP 800-63B section 4).
///
/// Two different kinds of factor are level 2. Level 3 takes proof of phishing resistance, which
/// method names alone do not give.
pub(crate) fn level<T: AsRef<str>>(methods: &[T]) -> Aal {
    let mut kinds = [false; 3];
    for method in methods {
        let [knows, has, is] = &mut kinds;
        match method.as_ref() {
            "mfa" => return Aal::Aal2,
            "pwd" | "pin" | "kba" => *knows = true,
            "otp" | "sms" | "tel" | "hwk" | "swk" | "sc" | "pop" => *has = true,
            "face" | "fpt" | "iris" | "retina" | "vbm" => *is = true,
            _ => {}
        }
    }
    if kinds.iter().filter(|kind| **kind).count() >= 2 {
        Aal::Aal2
    } else {
        Aal::Aal1
    }
}

/// `assurance` after `method` was proven at its time.
pub(crate) fn with_method(assurance: &Assurance, method: &str, at: Timestamp) -> Assurance {
    let mut methods: Vec<Box<str>> = assurance.amr.to_vec();
    if !methods.iter().any(|known| **known == *method) {
        methods.push(method.into());
    }
    Assurance {
        // A bearer of a valid token has shown one factor, whether or not its issuer says which.
        aal: if assurance.aal >= Aal::Aal1 && !assurance.amr.iter().any(|known| **known == *method)
        {
            assurance.aal.max(Aal::Aal2)
        } else {
            assurance.aal.max(level(&methods))
        },
        amr: Arc::from(methods),
        at: Some(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_kinds_of_factor_make_level_two_and_two_of_one_kind_do_not() {
        for (methods, expected) in [
            (&[][..], Aal::Aal1),
            (&["pwd"][..], Aal::Aal1),
            (&["pwd", "pin"][..], Aal::Aal1),
            (&["otp", "sms"][..], Aal::Aal1),
            (&["pwd", "otp"][..], Aal::Aal2),
            (&["fpt", "hwk"][..], Aal::Aal2),
            (&["mfa"][..], Aal::Aal2),
            (&["made-up", "pwd"][..], Aal::Aal1),
        ] {
            assert_eq!(level(methods), expected, "{methods:?}");
        }
    }

    #[test]
    fn proving_the_same_method_again_does_not_raise_the_level() {
        let once = Assurance {
            aal: Aal::Aal1,
            amr: Arc::from(["otp".into()]),
            at: None,
        };
        assert_eq!(with_method(&once, "otp", Timestamp::EPOCH).aal, Aal::Aal1);
        let password = Assurance {
            amr: Arc::from(["pwd".into()]),
            ..once
        };
        let both = with_method(&password, "otp", Timestamp::EPOCH);
        assert_eq!(both.aal, Aal::Aal2);
        assert_eq!(both.amr.len(), 2);
    }
}
