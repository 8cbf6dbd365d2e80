//! Guessing is slow, and refusals look alike.

use std::sync::Arc;

use eonpro_auth::{Auth as _, AuthConfig, AuthError, PasswordPolicy, TotpEnrolment};
use eonpro_core::TenantScope;
use eonpro_core::event::FieldValue;
use eonpro_core::id::ActorId;
use eonpro_core::port::KeyValue;
use eonpro_core::port::kv::MemoryKeyValue;
use eonpro_core::secret::SecretText;
use eonpro_core::time::ManualClock;
use eonpro_core::{Classify as _, ErrorKind};
use eonpro_testkit::Actors;

use crate::world::{Interposed, NOW, World};

const PASSWORD: &str = "correct horse battery";

fn quick() -> AuthConfig {
    let mut config = AuthConfig::default();
    let mut passwords = PasswordPolicy::default();
    passwords.memory_kib = 8;
    passwords.passes = 1;
    config.passwords = passwords;
    config
}

fn secret(text: &str) -> SecretText {
    SecretText::new(text.to_owned())
}

async fn enrolled(world: &World, scope: &TenantScope) -> TotpEnrolment {
    let enrolment = world.auth.enrol_totp(scope).await.unwrap();
    let code = world.code(&enrolment);
    world.auth.confirm_totp(scope, &code).await.unwrap();
    world.wait(30);
    enrolment
}

async fn guess_wrong(world: &World, scope: &TenantScope, enrolment: &TotpEnrolment) {
    let right = world.code(enrolment);
    let digit = if right.expose().starts_with('0') {
        "1"
    } else {
        "0"
    };
    let wrong = secret(&format!("{digit}{}", &right.expose()[1..]));
    let refused = world.auth.sign_in(scope, Some(&wrong)).await;
    assert!(matches!(refused, Err(AuthError::SignInRefused)));
}

#[tokio::test]
async fn five_failures_lock_the_actor_even_for_the_right_code() {
    let world = World::new();
    let scope = world.scope(1);
    let enrolment = enrolled(&world, &scope).await;
    world.wait(60);
    for _ in 0..5 {
        guess_wrong(&world, &scope, &enrolment).await;
    }
    assert_eq!(world.sink.count("AUTH-009"), 1);
    let right = world.code(&enrolment);
    let locked = world.auth.sign_in(&scope, Some(&right)).await;
    assert!(matches!(locked, Err(AuthError::SignInRefused)));
    world.wait(30);
    let right = world.code(&enrolment);
    world.auth.sign_in(&scope, Some(&right)).await.unwrap();
    world.wait(30);
    guess_wrong(&world, &scope, &enrolment).await;
    assert_eq!(world.sink.count("AUTH-009"), 1, "success forgets failures");
}

#[tokio::test]
async fn a_lock_binds_one_actor_in_one_tenant() {
    let world = World::new();
    let (scope, elsewhere) = (world.scope(1), world.scope(2));
    let colleague = world.scope_of(1, Actors::Admin, None);
    let enrolment = enrolled(&world, &scope).await;
    world.wait(60);
    for _ in 0..5 {
        guess_wrong(&world, &scope, &enrolment).await;
    }
    assert!(world.auth.sign_in(&colleague, None).await.is_ok());
    assert!(world.auth.sign_in(&elsewhere, None).await.is_ok());
}

#[tokio::test]
async fn a_lock_survives_a_restart() {
    let world = World::new();
    let scope = world.scope(1);
    let enrolment = enrolled(&world, &scope).await;
    world.wait(60);
    for _ in 0..5 {
        guess_wrong(&world, &scope, &enrolment).await;
    }
    let restarted = world.twin(Arc::clone(&world.store), AuthConfig::default());
    let right = world.code(&enrolment);
    let locked = restarted.sign_in(&scope, Some(&right)).await;
    assert!(matches!(locked, Err(AuthError::SignInRefused)));
}

#[tokio::test]
async fn one_address_that_guesses_for_many_actors_runs_dry() {
    let world = World::with(quick());
    let from = |client| world.scope_of(1, Actors::Anonymous, Some(client));
    let (spray, elsewhere) = (from("2001:db8::1"), from("2001:db8:0:1::1"));
    let guess = async |scope: &TenantScope, n: usize| {
        let actor = ActorId::new(&format!("user{n}")).unwrap();
        let guess = secret("Spring2026!spring");
        let tried = world
            .auth
            .sign_in_with_password(scope, &actor, &guess, None);
        tried.await.unwrap_err()
    };
    let mut refused = 0;
    let throttled = loop {
        match guess(&spray, refused).await {
            AuthError::SignInRefused => refused += 1,
            other => break other,
        }
        assert!(refused < 100);
    };
    assert_eq!(refused, 30);
    assert_eq!(throttled.kind(), ErrorKind::RateLimited);
    assert!(throttled.retry_after().is_some());
    let neighbour = from("2001:db8::ffff");
    assert_eq!(guess(&neighbour, 0).await.kind(), ErrorKind::RateLimited);
    assert_eq!(
        guess(&elsewhere, 0).await.kind(),
        ErrorKind::Unauthenticated
    );
}

#[tokio::test]
async fn an_unknown_actor_a_wrong_password_and_a_locked_actor_look_alike() {
    let world = World::with(quick());
    let scope = world.scope_of(1, Actors::Anonymous, None);
    let known = ActorId::new("dr.grey").unwrap();
    let unknown = ActorId::new("dr.nobody").unwrap();
    world
        .auth
        .set_password(&scope, &known, &secret(PASSWORD))
        .await
        .unwrap();
    let tried = async |actor: &ActorId, password: &str| {
        let password = secret(password);
        let tried = world
            .auth
            .sign_in_with_password(&scope, actor, &password, None);
        let error = tried.await.unwrap_err();
        (
            error.kind(),
            error.to_string(),
            error.retry_after(),
            error.oauth_code(),
        )
    };
    let wrong = tried(&known, "wrong horse battery").await;
    assert_eq!(wrong.0, ErrorKind::Unauthenticated);
    assert_eq!(tried(&unknown, PASSWORD).await, wrong);
    for _ in 0..4 {
        tried(&known, "wrong horse battery").await;
    }
    assert_eq!(world.sink.count("AUTH-009"), 1);
    assert_eq!(tried(&known, PASSWORD).await, wrong);
    let reasons: Vec<String> = world
        .sink
        .events()
        .iter()
        .filter(|seen| seen.code == "AUTH-002")
        .filter_map(|seen| match &seen.event.fields()[1].1 {
            FieldValue::Code(reason) => Some(reason.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.len(), 7);
    assert_eq!(reasons[6], "locked");
}

#[tokio::test]
async fn a_failure_is_recorded_under_a_keyed_hash_of_the_name() {
    let world = World::with(quick());
    let digest = async |tenant: u128| {
        let scope = world.scope_of(tenant, Actors::Anonymous, None);
        let actor = ActorId::new("hunter2-typed-as-name").unwrap();
        let guess = secret("wrong horse battery");
        let tried = world
            .auth
            .sign_in_with_password(&scope, &actor, &guess, None);
        tried.await.unwrap_err();
        let seen = world.sink.events().pop().unwrap();
        assert_eq!(seen.code, "AUTH-002");
        assert!(!format!("{:?}", seen.event).contains("hunter2"));
        match seen.event.fields()[0].1 {
            FieldValue::Digest(digest) => digest,
            _ => panic!("a digest"),
        }
    };
    let ours = digest(1).await;
    assert_eq!(digest(1).await, ours);
    assert_ne!(digest(2).await, ours);
}

#[tokio::test]
async fn the_right_password_signs_in_with_one_factor_and_no_roles() {
    let world = World::with(quick());
    let scope = world.scope_of(1, Actors::Anonymous, None);
    let actor = ActorId::new("dr.grey").unwrap();
    let set = async |text: &str| world.auth.set_password(&scope, &actor, &secret(text)).await;
    for weak in ["eleven char", &"é".repeat(11), &"a".repeat(257)] {
        assert!(matches!(set(weak).await, Err(AuthError::WeakPassword(_))));
    }
    set(PASSWORD).await.unwrap();
    let password = secret(PASSWORD);
    let signed_in = world
        .auth
        .sign_in_with_password(&scope, &actor, &password, None)
        .await
        .unwrap();
    assert_eq!(signed_in.session.actor(), &actor);
    assert!(signed_in.session.identity().actor().roles.is_empty());
    assert_eq!(
        signed_in.session.assurance().aal,
        eonpro_core::identity::Aal::Aal1
    );
    assert_eq!(world.sink.codes(), ["AUTH-008", "AUTH-001"]);
    assert!(
        world
            .auth
            .session(&scope, signed_in.token.expose())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn nobody_signs_in_as_nobody() {
    let world = World::new();
    let scope = world.scope_of(1, Actors::Anonymous, None);
    let refused = world.auth.sign_in(&scope, None).await;
    assert!(matches!(refused, Err(AuthError::NoActor)));
}

#[tokio::test]
async fn two_failures_at_once_both_count() {
    let clock = ManualClock::at(NOW);
    let memory: Arc<dyn KeyValue> = Arc::new(MemoryKeyValue::new(Arc::new(clock.clone())));
    let slow = Interposed::new(Arc::clone(&memory));
    let mut config = quick();
    config.lockout.threshold = 2;
    let world = World::on(clock, memory, config.clone());
    let scope = world.scope_of(1, Actors::Anonymous, None);
    let first = world.twin(Arc::<Interposed>::clone(&slow), config.clone());
    let second = world.twin(Arc::clone(&world.store), config);
    let (actor, guess) = (ActorId::new("dr.grey").unwrap(), secret(PASSWORD));
    let its = (scope.clone(), actor.clone(), guess.clone());
    slow.before_next_commit(Box::pin(async move {
        let tried = second.sign_in_with_password(&its.0, &its.1, &its.2, None);
        tried.await.unwrap_err();
    }));
    let tried = first.sign_in_with_password(&scope, &actor, &guess, None);
    tried.await.unwrap_err();
    assert!(slow.is_spent());
    assert_eq!(world.sink.count("AUTH-009"), 1);
}
