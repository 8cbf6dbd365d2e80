//! Sessions: bound to a tenant and an actor, ended for good.

use std::sync::Arc;

use eonpro_auth::{Auth as _, AuthConfig, AuthError, EndReason, NewToken, Revocation};
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::{Code, FieldValue, Severity};
use eonpro_core::id::{ActorId, PublicId as _};
use eonpro_core::identity::Aal;
use eonpro_core::port::KeyValue;
use eonpro_core::port::kv::{MemoryKeyValue, Partition};
use eonpro_core::time::ManualClock;
use eonpro_core::{Classify as _, ErrorKind, RequestContext, TenantScope};
use eonpro_testkit::Actors;

use crate::world::{Interposed, NOW, World};

fn ended(result: &Result<eonpro_auth::Session, AuthError>) -> Option<EndReason> {
    match result {
        Err(AuthError::SessionEnded(reason)) => Some(*reason),
        _ => None,
    }
}

#[tokio::test]
async fn a_session_is_handed_out_once_and_found_again_by_its_token() {
    let world = World::new();
    let scope = world.scope(1);
    let signed_in = world.auth.sign_in(&scope, None).await.unwrap();
    let found = world
        .auth
        .session(&scope, signed_in.token.expose())
        .await
        .unwrap();
    assert_eq!(found.id(), signed_in.session.id());
    assert_eq!(found.actor().as_str(), "clinician-1");
    assert_eq!(found.assurance().aal, Aal::Aal2);
    assert_eq!(found.identity().actor().session, Some(found.id()));
    assert_eq!(world.sink.codes(), ["AUTH-001"]);
    let [recorded] = &world.sink.events()[..] else {
        panic!("one event")
    };
    assert_eq!(recorded.tenant, Some(scope.tenant()));
}

#[tokio::test]
async fn the_store_holds_nothing_that_opens_a_session() {
    let world = World::new();
    let scope = world.scope(1);
    let signed_in = world.auth.sign_in(&scope, None).await.unwrap();
    let secret = signed_in.token.expose().split_once('.').unwrap().1;
    let partition = Partition::tenant(scope.tenant(), "auth");
    let entries = world.store.scan(&partition, b"", None, 100).await.unwrap();
    assert!(!entries.is_empty());
    for entry in entries {
        let value = String::from_utf8_lossy(&entry.versioned.value);
        assert!(!value.contains(secret));
        assert!(!String::from_utf8_lossy(entry.key.as_bytes()).contains("clinician"));
    }
    let printed = format!("{signed_in:?}");
    assert!(!printed.contains(secret), "{printed}");
}

#[tokio::test]
async fn a_session_of_another_tenant_is_refused_and_recorded_as_an_isolation_violation() {
    let world = World::new();
    let (ours, theirs) = (world.scope(1), world.scope(2));
    let foreign = world.auth.sign_in(&theirs, None).await.unwrap();
    world.sink.clear();
    let refused = world
        .auth
        .session(&ours, foreign.token.expose())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TenantMismatch);
    assert_eq!(refused.public_message(), "not found");
    let [recorded] = &world.sink.events()[..] else {
        panic!("one event")
    };
    assert_eq!(recorded.code, "TEN-004");
    assert_eq!(recorded.tenant, Some(ours.tenant()));
    assert_eq!(recorded.event.kind().severity, Severity::Critical);
    let object = recorded
        .event
        .fields()
        .iter()
        .find_map(|(_, value)| match value {
            FieldValue::Object(object) => Some(object.id),
            _ => None,
        });
    assert_eq!(object, Some(foreign.session.id().uuid()));
    let mut tried = Vec::new();
    tried.push(
        world
            .auth
            .touch(&ours, foreign.token.expose())
            .await
            .map(|_| ()),
    );
    tried.push(world.auth.sign_out(&ours, foreign.token.expose()).await);
    for outcome in tried {
        assert!(matches!(outcome, Err(AuthError::TenantMismatch)));
    }
    assert_eq!(world.sink.count("TEN-004"), 3);
    assert!(
        world
            .auth
            .session(&theirs, foreign.token.expose())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_violation_that_cannot_be_recorded_is_refused_all_the_same() {
    let world = World::new();
    let (ours, theirs) = (world.scope(1), world.scope(2));
    let foreign = world.auth.sign_in(&theirs, None).await.unwrap();
    world.sink.set_down(true);
    let refused = world.auth.session(&ours, foreign.token.expose()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn junk_is_unknown_and_no_violation() {
    let world = World::new();
    let scope = world.scope(1);
    let token = world.auth.sign_in(&scope, None).await.unwrap().token;
    let (tagged, secret) = token.expose().split_once('.').unwrap();
    let other = world.auth.sign_in(&scope, None).await.unwrap().token;
    let other_secret = other.expose().split_once('.').unwrap().1;
    for junk in [
        "",
        ".",
        "session",
        tagged,
        &format!("{tagged}."),
        &format!("{tagged}.{secret}="),
        &format!("{tagged}.{}", &secret[1..]),
        &format!("{tagged}.{other_secret}"),
        &format!("{tagged}.{secret}{}", "A".repeat(1_000)),
    ] {
        let refused = world.auth.session(&scope, junk).await;
        assert!(matches!(refused, Err(AuthError::SessionUnknown)), "{junk}");
    }
    assert_eq!(world.sink.count("TEN-004"), 0);
}

#[tokio::test]
async fn a_session_serves_its_own_actor_only() {
    let world = World::new();
    let scope = world.scope(1);
    let token = world.auth.sign_in(&scope, None).await.unwrap().token;
    let thief = world.scope_of(1, Actors::Admin, None);
    let refused = world.auth.session(&thief, token.expose()).await;
    assert!(matches!(refused, Err(AuthError::SessionUnknown)));
}

#[tokio::test]
async fn a_session_ends_when_idle_and_says_so_once() {
    let world = World::new();
    let scope = world.scope(1);
    let token = world.auth.sign_in(&scope, None).await.unwrap().token;
    world.wait(15 * 60 - 1);
    assert!(world.auth.session(&scope, token.expose()).await.is_ok());
    world.wait(1);
    for _ in 0..2 {
        let refused = world.auth.session(&scope, token.expose()).await;
        assert_eq!(ended(&refused), Some(EndReason::Idle));
    }
    let touched = world.auth.touch(&scope, token.expose()).await;
    assert_eq!(ended(&touched), Some(EndReason::Idle));
    assert_eq!(world.sink.count("AUTH-004"), 1);
}

#[tokio::test]
async fn a_busy_session_ends_at_its_absolute_deadline() {
    let world = World::new();
    let scope = world.scope(1);
    let token = world.auth.sign_in(&scope, None).await.unwrap().token;
    let mut minutes = 0;
    while world.auth.touch(&scope, token.expose()).await.is_ok() {
        world.wait(10 * 60);
        minutes += 10;
        assert!(minutes <= 12 * 60);
    }
    assert_eq!(minutes, 12 * 60);
    let refused = world.auth.session(&scope, token.expose()).await;
    assert_eq!(ended(&refused), Some(EndReason::Absolute));
    assert_eq!(world.sink.count("AUTH-004"), 1);
    world.wait(16 * 60);
    let forgotten = world.auth.session(&scope, token.expose()).await;
    assert!(matches!(forgotten, Err(AuthError::SessionUnknown)));
}

#[tokio::test]
async fn activity_is_written_down_once_per_thirtieth_of_the_idle_window() {
    let world = World::new();
    let scope = world.scope(1);
    let partition = Partition::tenant(scope.tenant(), "auth");
    let token = world.auth.sign_in(&scope, None).await.unwrap().token;
    let writes = async || {
        let entries = world
            .store
            .scan(&partition, b"session/", None, 9)
            .await
            .unwrap();
        entries[0].versioned.version
    };
    let before = writes().await;
    world.wait(29);
    world.auth.touch(&scope, token.expose()).await.unwrap();
    assert_eq!(writes().await, before);
    world.wait(1);
    world.auth.touch(&scope, token.expose()).await.unwrap();
    assert!(writes().await > before);
}

#[tokio::test]
async fn a_signed_out_session_never_comes_back() {
    let world = World::new();
    let scope = world.scope(1);
    let token = world.auth.sign_in(&scope, None).await.unwrap().token;
    for _ in 0..2 {
        world.auth.sign_out(&scope, token.expose()).await.unwrap();
    }
    let refused = world.auth.touch(&scope, token.expose()).await;
    assert_eq!(ended(&refused), Some(EndReason::SignedOut));
    assert_eq!(world.sink.codes(), ["AUTH-001", "AUTH-003"]);
}

#[tokio::test]
async fn a_sign_out_wins_against_a_touch_that_is_under_way() {
    let clock = ManualClock::at(NOW);
    let memory: Arc<dyn KeyValue> = Arc::new(MemoryKeyValue::new(Arc::new(clock.clone())));
    let slow = Interposed::new(Arc::clone(&memory));
    let world = World::on(clock, memory, AuthConfig::default());
    let scope = world.scope(1);
    let token = world.auth.sign_in(&scope, None).await.unwrap().token;
    let toucher = world.twin(Arc::<Interposed>::clone(&slow), AuthConfig::default());
    world.wait(60);
    let (quick, its_scope, its_token) = (
        world.twin(Arc::clone(&world.store), AuthConfig::default()),
        scope.clone(),
        token.clone(),
    );
    slow.before_next_commit(Box::pin(async move {
        quick
            .sign_out(&its_scope, its_token.expose())
            .await
            .unwrap();
    }));
    let touched = toucher.touch(&scope, token.expose()).await;
    assert!(slow.is_spent());
    assert_eq!(ended(&touched), Some(EndReason::SignedOut));
    let after = world.auth.session(&scope, token.expose()).await;
    assert_eq!(ended(&after), Some(EndReason::SignedOut));
}

#[tokio::test]
async fn two_sign_ins_at_once_do_not_pass_the_bound_together() {
    let clock = ManualClock::at(NOW);
    let memory: Arc<dyn KeyValue> = Arc::new(MemoryKeyValue::new(Arc::new(clock.clone())));
    let slow = Interposed::new(Arc::clone(&memory));
    let mut config = AuthConfig::default();
    config.sessions.per_actor = 1;
    let world = World::on(clock, memory, config.clone());
    let scope = world.scope(1);
    let first = world.twin(Arc::<Interposed>::clone(&slow), config.clone());
    let second = world.twin(Arc::clone(&world.store), config);
    let its_scope = scope.clone();
    slow.before_next_commit(Box::pin(async move {
        second.sign_in(&its_scope, None).await.unwrap();
    }));
    let late = first.sign_in(&scope, None).await;
    assert!(slow.is_spent());
    assert!(matches!(late, Err(AuthError::TooManySessions)));
}

#[tokio::test]
async fn all_sessions_of_an_actor_but_one_can_be_revoked() {
    let world = World::new();
    let scope = world.scope(1);
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(world.auth.sign_in(&scope, None).await.unwrap());
    }
    let actor = scope.cx().actor().id.clone();
    let kept = all[0].session.id();
    let which = Revocation::AllOfBut(actor.clone(), kept);
    let reason = || Code::constant("lost_device");
    let revoke = async |which| world.auth.revoke(&scope, which, reason()).await.unwrap();
    assert_eq!(revoke(&which).await, 2);
    assert_eq!(revoke(&which).await, 0);
    let live = world.auth.sessions(&scope, &actor).await.unwrap();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].id(), kept);
    let gone = world.auth.session(&scope, all[1].token.expose()).await;
    assert_eq!(ended(&gone), Some(EndReason::Revoked));
    assert_eq!(revoke(&Revocation::One(kept)).await, 1);
    assert_eq!(world.sink.count("AUTH-005"), 3);
}

#[tokio::test]
async fn a_sign_in_that_cannot_be_recorded_opens_nothing() {
    let world = World::new();
    let scope = world.scope(1);
    world.sink.set_down(true);
    let refused = world.auth.sign_in(&scope, None).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
    let actor = &scope.cx().actor().id;
    assert!(world.auth.sessions(&scope, actor).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_session_raises_its_own_actors_token_and_nobody_elses() {
    let world = World::new();
    let (scope, elsewhere) = (world.scope(1), world.scope(2));
    let session = world.auth.sign_in(&scope, None).await.unwrap().session;
    let cx = RequestContext::anonymous(&world.clock, &SeededEntropy::new(1));
    let joined = async |actor: &str, scope: &TenantScope| {
        let new = NewToken::new(ActorId::new(actor).unwrap(), scope.tenant());
        let token = world.issuer.issue(&new.with_roles(&["fresh"])).unwrap();
        let identity = world.auth.verify(&cx, token.expose()).await.unwrap();
        session.join(&identity)
    };
    let own = joined("clinician-1", &scope).await.unwrap();
    assert_eq!(own.actor().session, Some(session.id()));
    assert_eq!(own.assurance().aal, Aal::Aal2);
    assert_eq!(&*own.actor().roles[0], "fresh");
    assert!(own.expires() < session.absolute_until());
    assert!(joined("dr.grey", &scope).await.is_none());
    assert!(joined("clinician-1", &elsewhere).await.is_none());
}

#[tokio::test]
async fn a_sign_out_whose_caller_goes_away_happens_whole() {
    let clock = ManualClock::at(NOW);
    let memory: Arc<dyn KeyValue> = Arc::new(MemoryKeyValue::new(Arc::new(clock.clone())));
    let slow = Interposed::new(Arc::clone(&memory));
    let world = World::on(clock, memory, AuthConfig::default());
    let scope = world.scope(1);
    let token = world.auth.sign_in(&scope, None).await.unwrap().token;
    let impatient = world.twin(Arc::<Interposed>::clone(&slow), AuthConfig::default());
    let (reached, has_reached) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    slow.before_next_commit(Box::pin(async move {
        reached.send(()).unwrap();
        released.await.unwrap();
    }));
    let mut going = Box::pin(impatient.sign_out(&scope, token.expose()));
    tokio::select! {
        biased;
        _ = &mut going => panic!("it waits for its commit"),
        started = has_reached => started.unwrap(),
    }
    drop(going);
    release.send(()).unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.sink.codes(), ["AUTH-001", "AUTH-003"]);
    let after = world.auth.session(&scope, token.expose()).await;
    assert_eq!(ended(&after), Some(EndReason::SignedOut));
}
