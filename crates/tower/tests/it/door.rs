//! Who is let in, and what is told to those who are not.

use std::time::Duration;

use eonpro_auth::Auth as _;
use eonpro_core::id::TenantId;
use eonpro_core::identity::Aal;
use eonpro_core::port::Rate;
use eonpro_core::purpose::PurposeOfUse;
use eonpro_core::secret::SecretText;
use eonpro_core::time::{Monotonic, Timestamp};
use eonpro_core::{Classify as _, ErrorKind};
use eonpro_tenant::{Hints, NetworkList, NetworkRule, TenantSlug};
use eonpro_tower::{Arrival, DoorConfig, DoorError, Refusal};

use crate::house::{House, PEER};

fn arrival() -> Arrival {
    Arrival::new(PEER.parse().unwrap(), PurposeOfUse::Treatment)
}

fn junk() -> SecretText {
    SecretText::new("junk".to_owned())
}

#[tokio::test]
async fn a_good_token_opens_a_scope_of_its_own_tenant() {
    let house = House::new();
    let tenant = house.onboard("clinic-1", NetworkRule::Anywhere).await;
    let token = house.token("dr.grey", tenant);
    for _ in 0..2 {
        let cx = house.admit(&token, "::ffff:192.0.2.7").await.unwrap();
        assert_eq!(cx.tenant_scope().unwrap().tenant(), tenant);
        assert_eq!(cx.actor().id.as_str(), "dr.grey");
        assert_eq!(&*cx.actor().roles[0], "clinician");
        assert_eq!(cx.assurance().aal, Aal::Aal1);
        assert_eq!(cx.purpose(), Some(PurposeOfUse::Treatment));
        assert_eq!(cx.client(), Some(PEER.parse().unwrap()));
        assert_eq!(cx.remaining(&house.clock), Some(Duration::from_secs(30)));
    }
    assert_eq!(house.sink.codes(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_bad_token_is_refused_recorded_and_told_nothing() {
    let house = House::new();
    let refused = house.admit(&junk(), PEER).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated);
    assert_eq!(refused.challenge(), Some("Bearer error=\"invalid_token\""));
    let problem = refused.problem();
    assert_eq!(problem.status(), 401);
    assert_eq!(problem.title(), "not signed in");
    let id = refused.request_id().to_string();
    assert!(problem.to_json().contains(&id));
    assert_eq!(house.sink.codes(), ["AUTH-011"]);
}

#[tokio::test]
async fn a_token_of_a_tenant_that_nobody_knows_opens_nothing() {
    let house = House::new();
    let nobody = TenantId::parse("00000000-0000-0000-0000-00000000000f").unwrap();
    let token = house.token("dr.grey", nobody);
    let refused = house.admit(&token, PEER).await.unwrap_err();
    assert!(matches!(refused.refusal(), Refusal::Tenant(_)));
    assert_eq!(refused.challenge(), None);
}

#[tokio::test]
async fn the_tenants_network_rule_holds_at_the_door() {
    let house = House::new();
    let rule = NetworkRule::Only(NetworkList::parse(["192.0.2.0/24"]).unwrap());
    let tenant = house.onboard("clinic-1", rule).await;
    let token = house.token("dr.grey", tenant);
    assert!(house.admit(&token, PEER).await.is_ok());
    let refused = house.admit(&token, "198.51.100.1").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    assert_eq!(house.sink.codes(), ["TEN-005"]);
}

#[tokio::test]
async fn a_hint_at_another_tenant_is_refused_and_recorded() {
    let house = House::new();
    let ours = house.onboard("clinic-1", NetworkRule::Anywhere).await;
    house.onboard("clinic-2", NetworkRule::Anywhere).await;
    let token = house.token("dr.grey", ours);
    let mut hints = Hints::none();
    hints.slug = Some(TenantSlug::new("clinic-2").unwrap());
    let tried = arrival().with_hints(hints);
    let refused = house.door.admit_arrival(token.expose(), tried).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(house.sink.count("TEN-004"), 1);
}

#[tokio::test]
async fn a_deadline_of_the_caller_can_only_shorten_the_doors() {
    let house = House::new();
    let tenant = house.onboard("clinic-1", NetworkRule::Anywhere).await;
    let token = house.token("dr.grey", tenant);
    let remaining = async |seconds: u64| {
        let deadline = Monotonic::from_nanos(seconds * 1_000_000_000);
        let tried = arrival().with_deadline(deadline);
        let cx = house
            .door
            .admit_arrival(token.expose(), tried)
            .await
            .unwrap();
        cx.remaining(&house.clock).unwrap().as_secs()
    };
    assert_eq!(remaining(5).await, 5);
    assert_eq!(remaining(500).await, 30);
}

fn small() -> DoorConfig {
    let period = Duration::from_secs(10);
    let mut config = DoorConfig::default();
    config.per_actor = Rate { burst: 2, period };
    config.per_peer = Rate { burst: 4, period };
    config
}

fn limited(result: Result<impl Sized, DoorError>) -> bool {
    match result {
        Err(error) => {
            assert_eq!(error.problem().status(), 429);
            assert!(error.problem().retry_after().is_some());
            true
        }
        Ok(_) => false,
    }
}

#[tokio::test]
async fn one_actor_is_limited_wherever_they_come_from() {
    let house = House::with(small());
    let tenant = house.onboard("clinic-1", NetworkRule::Anywhere).await;
    let (grey, white) = (house.token("grey", tenant), house.token("white", tenant));
    assert!(!limited(house.admit(&grey, "192.0.2.1").await));
    assert!(!limited(house.admit(&grey, "192.0.2.2").await));
    assert!(limited(house.admit(&grey, "192.0.2.3").await));
    assert!(!limited(house.admit(&white, "192.0.2.3").await));
    house.clock.advance(Duration::from_secs(5));
    assert!(!limited(house.admit(&grey, "192.0.2.4").await));
}

#[tokio::test]
async fn a_flood_from_one_peer_stops_before_tokens_are_looked_at() {
    let house = House::with(small());
    for host in 0..4 {
        let refused = house.admit(&junk(), &format!("2001:db8::{host}")).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unauthenticated);
    }
    assert!(limited(house.admit(&junk(), "2001:db8::ffff").await));
    assert_eq!(house.sink.count("AUTH-011"), 4);
    let neighbour = house.admit(&junk(), "2001:db8:0:1::1").await;
    assert_eq!(neighbour.unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_session_raises_the_context_of_its_own_actor() {
    let house = House::new();
    let tenant = house.onboard("clinic-1", NetworkRule::Anywhere).await;
    let token = house.token("dr.grey", tenant);
    let scope = house.admit(&token, PEER).await.unwrap();
    let scope = scope.tenant_scope().unwrap();
    let enrolment = house.auth.enrol_totp(&scope).await.unwrap();
    let code = |seconds: i64| {
        let at = Timestamp::from_seconds(1_790_000_000 + seconds);
        enrolment.code_at(at).unwrap()
    };
    house.auth.confirm_totp(&scope, &code(0)).await.unwrap();
    let signed_in = house.auth.sign_in(&scope, Some(&code(30))).await.unwrap();
    let session = signed_in.token.expose();
    let cx = house
        .door
        .admit_in_session(token.expose(), session, arrival())
        .await
        .unwrap();
    assert_eq!(cx.assurance().aal, Aal::Aal2);
    assert_eq!(cx.actor().session, Some(signed_in.session.id()));
    assert_eq!(cx.tenant_scope().unwrap().tenant(), tenant);

    let thief = house.token("dr.white", tenant);
    let stolen = house
        .door
        .admit_in_session(thief.expose(), session, arrival());
    assert_eq!(stolen.await.unwrap_err().kind(), ErrorKind::Unauthenticated);

    let elsewhere = house.onboard("clinic-2", NetworkRule::Anywhere).await;
    let foreign = house.token("dr.grey", elsewhere);
    let crossed = house
        .door
        .admit_in_session(foreign.expose(), session, arrival());
    let crossed = crossed.await.unwrap_err();
    assert_eq!(crossed.kind(), ErrorKind::TenantMismatch);
    assert_eq!(crossed.problem().status(), 404);
    assert_eq!(house.sink.codes(), ["TEN-004"]);

    house.auth.sign_out(&scope, session).await.unwrap();
    let late = house
        .door
        .admit_in_session(token.expose(), session, arrival());
    let late = late.await.unwrap_err();
    assert_eq!(late.challenge(), Some("Bearer error=\"invalid_token\""));
}
