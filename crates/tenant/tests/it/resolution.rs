//! From an identity to a scope, and everything that stands in between.

use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::{Code, FieldValue};
use eonpro_core::id::{DocumentId, PublicId as _, RowId, TenantId};
use eonpro_core::{Classify as _, ErrorKind};
use eonpro_tenant::{
    Command, Hints, NetworkList, NetworkRule, SuspendReason, TenantError, TenantRecord,
    Tenants as _, TenantsExt as _,
};

use crate::house::{House, idem, identity};

async fn order(house: &House, tenant: &TenantRecord, command: Command) -> TenantRecord {
    let key = idem(&format!("v{}", tenant.version()));
    house
        .tenants
        .apply(&house.cx(), tenant.id(), command, tenant.version(), key)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_resolved_context_carries_actor_tenant_and_epoch() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    let cx = house.admit(tenant.id()).await.unwrap();
    assert_eq!(cx.actor().id.as_str(), "dr.grey");
    let scope = cx.tenant_scope().unwrap();
    assert_eq!(
        (scope.tenant(), scope.epoch()),
        (tenant.id(), tenant.epoch())
    );
}

#[tokio::test]
async fn an_identity_without_a_tenant_or_with_an_unknown_one_resolves_to_nothing() {
    let house = House::new();
    house.onboard("clinic").await;
    let nobody = identity("dr.grey", None);
    let hints = Hints::from_host("clinic.example.org", "example.org");
    let refused = house.tenants.resolve(house.cx(), &nobody, &hints).await;
    assert!(matches!(refused, Err(TenantError::Unresolved)));
    let unknown = TenantId::random(&SeededEntropy::new(77));
    assert!(matches!(
        house.admit(unknown).await,
        Err(TenantError::Unknown)
    ));
}

#[tokio::test]
async fn a_suspended_tenant_yields_no_scope_until_it_is_resumed() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    let suspended = order(&house, &tenant, Command::Suspend(SuspendReason::Security)).await;
    let refused = house.admit(tenant.id()).await;
    assert!(matches!(refused, Err(TenantError::NotInService(_))));
    order(&house, &suspended, Command::Resume(SuspendReason::Security)).await;
    assert!(house.admit(tenant.id()).await.is_ok());
}

#[tokio::test]
async fn a_hint_that_agrees_passes_and_one_that_does_not_is_refused_and_recorded() {
    let house = House::new();
    let (ours, theirs) = (house.onboard("ours").await, house.onboard("theirs").await);
    house.sink.clear();
    let resolve = async |hints: Hints| {
        let identity = identity("dr.grey", Some(ours.id()));
        house.tenants.resolve(house.cx(), &identity, &hints).await
    };
    let host = |name: &str| Hints::from_host(&format!("{name}.example.org"), "example.org");
    let by_id = |id| {
        let mut hints = Hints::none();
        hints.id = Some(id);
        hints
    };
    assert!(resolve(host("ours")).await.is_ok());
    assert!(resolve(by_id(ours.id())).await.is_ok());
    assert_eq!(house.sink.codes(), Vec::<&str>::new());
    for hints in [host("theirs"), by_id(theirs.id()), host("www")] {
        let refused = resolve(hints).await;
        assert!(matches!(refused, Err(TenantError::ResolutionConflict)));
    }
    assert_eq!(house.sink.codes(), ["TEN-004"; 3]);
    for recorded in &house.sink.events()[..2] {
        assert_eq!(recorded.tenant, Some(ours.id()));
        let target = ("target_tenant", FieldValue::Tenant(theirs.id()));
        assert!(recorded.event.fields().contains(&target));
    }
}

#[tokio::test]
async fn a_client_outside_the_network_rule_is_refused_and_recorded() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    let list = NetworkList::parse(["192.0.2.0/24"]).unwrap();
    order(
        &house,
        &tenant,
        Command::SetNetwork(NetworkRule::Only(list)),
    )
    .await;
    let from = async |address: Option<&str>| {
        let identity = identity("dr.grey", Some(tenant.id()));
        let cx = match address {
            Some(address) => house.cx().with_client(address.parse().unwrap()),
            None => house.cx(),
        };
        house.tenants.resolve(cx, &identity, &Hints::none()).await
    };
    assert!(from(Some("192.0.2.7")).await.is_ok());
    assert!(from(Some("::ffff:192.0.2.7")).await.is_ok());
    for outside in [Some("198.51.100.1"), Some("::ffff:198.51.100.1"), None] {
        let refused = from(outside).await;
        assert!(
            matches!(refused, Err(TenantError::NetworkDenied)),
            "{outside:?}"
        );
    }
    assert_eq!(house.sink.count("TEN-005"), 3);
}

#[tokio::test]
async fn another_tenants_id_is_recorded_before_it_is_refused_as_not_found() {
    let house = House::new();
    let (ours, theirs) = (house.onboard("ours").await, house.onboard("theirs").await);
    let (ours, theirs) = (house.scope(ours.id()).await, house.scope(theirs.id()).await);
    let row = RowId::random(&SeededEntropy::new(5));
    let tagged = house.tenants.claim(&theirs, row);
    let layer = Code::constant("id");
    let opened = house
        .tenants
        .admit::<RowId>(&theirs, &tagged, layer.clone());
    assert_eq!(opened.await.unwrap(), row);
    house.sink.clear();
    let refused = house.tenants.admit::<RowId>(&ours, &tagged, layer.clone());
    let error = refused.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TenantMismatch);
    assert_eq!(error.public_message(), ErrorKind::NotFound.public_message());
    assert_eq!(house.sink.codes(), ["TEN-004"]);
    let event = &house.sink.events()[0].event;
    assert!(event.fields().iter().any(|(_, value)| matches!(
        value,
        FieldValue::Object(object) if object.id == row.uuid() && object.kind.as_str() == "row"
    )));
    let malformed = house.tenants.admit::<DocumentId>(&ours, "x", layer.clone());
    assert!(matches!(malformed.await, Err(TenantError::MalformedId)));
    assert_eq!(house.sink.codes(), ["TEN-004"]);
}

#[tokio::test]
async fn a_violation_that_cannot_be_recorded_is_still_refused() {
    let house = House::new();
    let (ours, theirs) = (house.onboard("ours").await, house.onboard("theirs").await);
    let (ours, theirs) = (house.scope(ours.id()).await, house.scope(theirs.id()).await);
    let tagged = house
        .tenants
        .claim(&theirs, RowId::random(&SeededEntropy::new(5)));
    house.sink.set_down(true);
    let refused = house
        .tenants
        .admit::<RowId>(&ours, &tagged, Code::constant("id"))
        .await;
    assert!(matches!(refused, Err(TenantError::Unaudited(_))));
}
