//! TOTP: enrolled, confirmed, accepted once.

use std::sync::Arc;

use eonpro_auth::{Auth as _, AuthConfig, AuthError, TotpEnrolment};
use eonpro_core::TenantScope;
use eonpro_core::port::KeyValue;
use eonpro_core::port::kv::{MemoryKeyValue, Partition};
use eonpro_core::secret::SecretText;
use eonpro_core::time::ManualClock;
use eonpro_core::{Classify as _, ErrorKind};

use crate::world::{Interposed, NOW, World};

async fn enrolled(world: &World, scope: &TenantScope) -> TotpEnrolment {
    let enrolment = world.auth.enrol_totp(scope).await.unwrap();
    let code = world.code(&enrolment);
    world.auth.confirm_totp(scope, &code).await.unwrap();
    world.wait(30);
    enrolment
}

fn other_than(code: &SecretText) -> SecretText {
    let digit = if code.expose().starts_with('0') {
        "1"
    } else {
        "0"
    };
    SecretText::new(format!("{digit}{}", &code.expose()[1..]))
}

fn refused<T>(result: &Result<T, AuthError>) -> bool {
    matches!(result, Err(AuthError::SignInRefused))
}

#[tokio::test]
async fn a_factor_counts_once_it_is_confirmed() {
    let world = World::new();
    let scope = world.scope(1);
    let enrolment = world.auth.enrol_totp(&scope).await.unwrap();
    assert!(world.auth.sign_in(&scope, None).await.is_ok());
    let code = world.code(&enrolment);
    world.auth.confirm_totp(&scope, &code).await.unwrap();
    let without = world.auth.sign_in(&scope, None).await;
    assert!(matches!(without, Err(AuthError::SecondFactorRequired)));
    world.wait(30);
    let code = world.code(&enrolment);
    let session = world
        .auth
        .sign_in(&scope, Some(&code))
        .await
        .unwrap()
        .session;
    assert!(
        session
            .assurance()
            .amr
            .iter()
            .any(|method| &**method == "otp")
    );
    assert_eq!(world.sink.count("AUTH-007"), 1);
    let again = world.auth.enrol_totp(&scope).await;
    assert!(matches!(again, Err(AuthError::FactorExists)));
}

#[tokio::test]
async fn a_code_is_accepted_once() {
    let world = World::new();
    let scope = world.scope(1);
    let enrolment = enrolled(&world, &scope).await;
    let code = world.code(&enrolment);
    world.auth.verify_totp(&scope, &code).await.unwrap();
    let replayed = world.auth.verify_totp(&scope, &code).await;
    assert!(refused(&replayed), "{replayed:?}");
    let replayed = world.auth.sign_in(&scope, Some(&code)).await;
    assert!(refused(&replayed));
    assert_eq!(world.sink.count("AUTH-006"), 2);
    assert_eq!(world.sink.count("AUTH-002"), 1);
}

#[tokio::test]
async fn an_older_code_is_not_accepted_after_a_newer_one() {
    let world = World::new();
    let scope = world.scope(1);
    let enrolment = enrolled(&world, &scope).await;
    let older = world.code(&enrolment);
    world.wait(30);
    let newer = world.code(&enrolment);
    world.auth.verify_totp(&scope, &newer).await.unwrap();
    assert!(refused(&world.auth.verify_totp(&scope, &older).await));
}

#[tokio::test]
async fn the_code_that_confirmed_does_not_sign_in() {
    let world = World::new();
    let scope = world.scope(1);
    let enrolment = world.auth.enrol_totp(&scope).await.unwrap();
    let code = world.code(&enrolment);
    world.auth.confirm_totp(&scope, &code).await.unwrap();
    assert!(refused(&world.auth.sign_in(&scope, Some(&code)).await));
    // The phone's next code is within the window already.
    let next = enrolment
        .code_at(NOW.plus(std::time::Duration::from_secs(30)))
        .unwrap();
    assert!(world.auth.sign_in(&scope, Some(&next)).await.is_ok());
}

#[tokio::test]
async fn of_two_callers_with_one_code_only_one_is_let_in() {
    let clock = ManualClock::at(NOW);
    let memory: Arc<dyn KeyValue> = Arc::new(MemoryKeyValue::new(Arc::new(clock.clone())));
    let slow = Interposed::new(Arc::clone(&memory));
    let world = World::on(clock, memory, AuthConfig::default());
    let scope = world.scope(1);
    let enrolment = enrolled(&world, &scope).await;
    let code = world.code(&enrolment);
    let first = world.twin(Arc::<Interposed>::clone(&slow), AuthConfig::default());
    let second = world.twin(Arc::clone(&world.store), AuthConfig::default());
    let (its_scope, its_code) = (scope.clone(), code.clone());
    slow.before_next_commit(Box::pin(async move {
        second.verify_totp(&its_scope, &its_code).await.unwrap();
    }));
    let late = first.verify_totp(&scope, &code).await;
    assert!(slow.is_spent());
    assert!(refused(&late), "{late:?}");
}

#[tokio::test]
async fn a_wrong_code_confirms_and_removes_nothing() {
    let world = World::new();
    let scope = world.scope(1);
    let enrolment = world.auth.enrol_totp(&scope).await.unwrap();
    let wrong = other_than(&world.code(&enrolment));
    assert!(refused(&world.auth.confirm_totp(&scope, &wrong).await));
    assert!(world.auth.sign_in(&scope, None).await.is_ok());
    let code = world.code(&enrolment);
    world.auth.confirm_totp(&scope, &code).await.unwrap();
    world.wait(30);
    let wrong = other_than(&world.code(&enrolment));
    assert!(refused(&world.auth.remove_totp(&scope, &wrong).await));
    let code = world.code(&enrolment);
    world.auth.remove_totp(&scope, &code).await.unwrap();
    assert!(world.auth.sign_in(&scope, None).await.is_ok());
    assert_eq!(world.sink.count("AUTH-007"), 2);
    let removed = world.auth.verify_totp(&scope, &code).await;
    assert!(matches!(removed, Err(AuthError::FactorUnknown)));
}

#[tokio::test]
async fn the_store_holds_the_secret_sealed() {
    let world = World::new();
    let scope = world.scope(1);
    let enrolment = world.auth.enrol_totp(&scope).await.unwrap();
    let calls = world.sealer.calls();
    assert!(calls > 0);
    let partition = Partition::tenant(scope.tenant(), "auth");
    let entries = world
        .store
        .scan(&partition, b"totp/", None, 9)
        .await
        .unwrap();
    let base32 = enrolment.base32();
    for entry in &entries {
        let value = String::from_utf8_lossy(&entry.versioned.value);
        assert!(!value.contains(base32.expose()));
    }
    assert_eq!(entries.len(), 1);
    assert!(!format!("{enrolment:?}").contains(base32.expose()));
}

#[tokio::test]
async fn a_sealer_that_is_down_is_an_outage_and_counts_against_nobody() {
    let world = World::new();
    let scope = world.scope(1);
    let enrolment = enrolled(&world, &scope).await;
    for _ in 0..6 {
        world.sealer.fail_next(1);
        let code = world.code(&enrolment);
        let failed = world.auth.verify_totp(&scope, &code).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Unavailable);
    }
    let code = world.code(&enrolment);
    world.auth.verify_totp(&scope, &code).await.unwrap();
}

#[tokio::test]
async fn a_policy_can_demand_a_second_factor_of_everybody() {
    let mut config = AuthConfig::default();
    config.second_factor = eonpro_auth::SecondFactor::Always;
    let world = World::with(config);
    let scope = world.scope(1);
    let without = world.auth.sign_in(&scope, None).await;
    assert!(matches!(without, Err(AuthError::SecondFactorRequired)));
    let enrolment = enrolled(&world, &scope).await;
    let code = world.code(&enrolment);
    assert!(world.auth.sign_in(&scope, Some(&code)).await.is_ok());
}

#[tokio::test]
async fn an_enrolment_under_way_does_not_replace_a_factor_confirmed_meanwhile() {
    let clock = ManualClock::at(NOW);
    let memory: Arc<dyn KeyValue> = Arc::new(MemoryKeyValue::new(Arc::new(clock.clone())));
    let slow = Interposed::new(Arc::clone(&memory));
    let world = World::on(clock, memory, AuthConfig::default());
    let scope = world.scope(1);
    let enrolment = world.auth.enrol_totp(&scope).await.unwrap();
    let code = world.code(&enrolment);
    let first = world.twin(Arc::<Interposed>::clone(&slow), AuthConfig::default());
    let second = world.twin(Arc::clone(&world.store), AuthConfig::default());
    let its_scope = scope.clone();
    slow.before_next_commit(Box::pin(async move {
        second.confirm_totp(&its_scope, &code).await.unwrap();
    }));
    let late = first.enrol_totp(&scope).await;
    assert!(slow.is_spent());
    assert!(matches!(late, Err(AuthError::Contended)));
    world.wait(30);
    let code = world.code(&enrolment);
    world.auth.verify_totp(&scope, &code).await.unwrap();
}
