//! Access tokens at the service: remembered, forgotten, recorded.

use std::time::Duration;

use eonpro_auth::token::Reject;
use eonpro_auth::{Auth as _, AuthError, AuthExt as _};
use eonpro_core::component::{Component as _, Fitness};
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::{FieldValue, Severity};
use eonpro_core::{Classify as _, ErrorKind, RequestContext};

use crate::world::World;

fn stranger(world: &World) -> RequestContext {
    RequestContext::anonymous(&world.clock, &SeededEntropy::new(8))
}

#[tokio::test]
async fn a_verified_token_is_known_without_verifying_it_again() {
    let world = World::new();
    let token = world.token();
    assert!(world.auth.verify_cached(token.expose()).is_none());
    let identity = world
        .auth
        .identify(&stranger(&world), token.expose())
        .await
        .unwrap();
    assert_eq!(identity.actor().id.as_str(), "dr.grey");
    assert_eq!(identity.tenant(), Some(world.scope(1).tenant()));
    let known = world.auth.verify_cached(token.expose()).unwrap().unwrap();
    assert_eq!(known.actor().id, identity.actor().id);
    assert_eq!(world.sink.codes(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_remembered_token_is_forgotten_after_its_time_and_after_a_minute() {
    let world = World::new();
    let short = world.new_token().lasting(Duration::from_secs(10));
    let short = world.issuer.issue(&short).unwrap();
    let long = world.token();
    let cx = stranger(&world);
    for token in [&short, &long] {
        world.auth.verify(&cx, token.expose()).await.unwrap();
    }
    world.wait(39);
    assert!(world.auth.verify_cached(short.expose()).is_some());
    world.wait(1);
    // 10 s of life and 30 s of leeway are over.
    assert!(world.auth.verify_cached(short.expose()).is_none());
    assert!(world.auth.verify_cached(long.expose()).is_some());
    world.wait(20);
    assert!(world.auth.verify_cached(long.expose()).is_none());
    world.auth.verify(&cx, long.expose()).await.unwrap();
    let refused = world.auth.verify(&cx, short.expose()).await.unwrap_err();
    assert!(matches!(refused, AuthError::InvalidToken(Reject::Expired)));
}

#[tokio::test]
async fn a_removed_key_takes_its_remembered_tokens_along() {
    let world = World::new();
    let token = world.token();
    let cx = stranger(&world);
    world.auth.verify(&cx, token.expose()).await.unwrap();
    assert!(world.auth.verify_cached(token.expose()).is_some());
    world.issuer.rotate().unwrap();
    assert!(world.auth.verify_cached(token.expose()).is_none());
    let refused = world.auth.verify(&cx, token.expose()).await.unwrap_err();
    assert!(matches!(
        refused,
        AuthError::InvalidToken(Reject::KidUnknown)
    ));
    let fresh = world.token();
    world.auth.verify(&cx, fresh.expose()).await.unwrap();
}

#[tokio::test]
async fn a_refused_token_is_recorded_with_its_reason_and_without_itself() {
    let world = World::new();
    let mut token = world.token().expose().to_owned();
    let end = token.pop().unwrap();
    token.push(if end == 'A' { 'Q' } else { 'A' });
    let refused = world
        .auth
        .verify(&stranger(&world), &token)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
    let [event] = &world.sink.events()[..] else {
        panic!("one event")
    };
    assert_eq!(event.code, "AUTH-011");
    assert_eq!(event.event.kind().severity, Severity::Warning);
    let printed = format!("{:?}", event.event);
    assert!(printed.contains("signature"), "{printed}");
    assert!(!printed.contains(&token[..40]), "{printed}");
    let kid = event.event.fields().iter().find(|(name, _)| *name == "kid");
    assert!(matches!(kid, Some((_, FieldValue::Code(_)))));
}

#[tokio::test]
async fn a_refusal_that_cannot_be_recorded_is_our_outage() {
    let world = World::new();
    world.sink.set_down(true);
    let refused = world
        .auth
        .verify(&stranger(&world), "junk")
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_closed_service_answers_nobody() {
    let world = World::new();
    let token = world.token();
    let cx = stranger(&world);
    world.auth.verify(&cx, token.expose()).await.unwrap();
    world.auth.close().await;
    let cached = world.auth.verify_cached(token.expose());
    assert!(matches!(cached, Some(Err(AuthError::Closed))));
    let refused = world.auth.verify(&cx, token.expose()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
}

#[test]
fn the_development_issuer_makes_the_whole_unfit_for_production() {
    let world = World::new();
    assert!(world.auth.posture().fitness <= Fitness::Development);
    assert_eq!(world.issuer.posture().fitness, Fitness::Development);
}
