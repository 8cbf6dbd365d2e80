//! Onboarding and commands.

use eonpro_core::event::{Code, FieldValue};
use eonpro_core::port::SealScope;
use eonpro_core::port::Sealer as _;
use eonpro_tenant::{
    Command, Hold, NetworkList, NetworkRule, Page, RecordVersion, State, SuspendReason,
    TenantError, TenantSlug, Tenants as _,
};

use crate::house::{House, authority, idem, new_tenant};

const BILLING: Command = Command::Suspend(SuspendReason::Billing);

#[tokio::test]
async fn an_onboarded_tenant_is_active_with_keys_a_database_and_its_entry() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    assert_eq!(tenant.state(), State::Active);
    assert_eq!(house.record(tenant.id()).await, tenant);
    let keys = SealScope::of_tenant(&authority(), tenant.id());
    assert!(house.sealer.mac_key(keys, "x").await.is_ok());
    assert!(house.files() >= 1);
    assert_eq!(house.sink.codes(), ["TEN-001"]);
    let fields = house.sink.events()[0].event.fields().to_vec();
    assert!(fields.contains(&("tenant", FieldValue::Tenant(tenant.id()))));
}

#[tokio::test]
async fn a_database_file_tells_neither_tenant_nor_slug() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    for entry in std::fs::read_dir(house.dir.path().join("tenants")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.contains("clinic"));
        assert!(!name.contains(&tenant.id().uuid().simple().to_string()));
    }
}

#[tokio::test]
async fn a_repeated_onboarding_returns_the_first_result() {
    let house = House::new();
    let first = house.onboard("clinic").await;
    let cx = house.cx();
    let held = Command::PlaceHold(Hold(Code::constant("h:1")));
    house
        .tenants
        .apply(&cx, first.id(), held, first.version(), idem("h"))
        .await
        .unwrap();
    assert_eq!(house.onboard("clinic").await, first);
    assert_eq!(house.sink.count("TEN-001"), 1);
    let other = house
        .tenants
        .onboard(&cx, new_tenant("other"), idem("clinic"))
        .await;
    assert!(matches!(other, Err(TenantError::IdempotencyMismatch)));
}

#[tokio::test]
async fn a_slug_is_given_once() {
    let house = House::new();
    house.onboard("clinic").await;
    let again = house
        .tenants
        .onboard(&house.cx(), new_tenant("clinic"), idem("another"))
        .await;
    assert!(matches!(again, Err(TenantError::SlugTaken)));
}

#[tokio::test]
async fn the_same_onboarding_twice_at_once_makes_one_tenant() {
    let house = House::new();
    let (one, two) = tokio::join!(house.onboard("clinic"), house.onboard("clinic"));
    assert_eq!(one, two);
    let all = house.tenants.list(&house.cx(), Page::default()).await;
    assert_eq!(all.unwrap(), [one]);
}

#[tokio::test]
async fn onboarding_goes_on_wherever_the_store_failed() {
    for commits in 0.. {
        let house = House::new();
        house.state.fail_after(commits);
        let first = house
            .tenants
            .onboard(&house.cx(), new_tenant("clinic"), idem("clinic"))
            .await;
        if !house.state.failed() {
            assert!(commits >= 2, "nothing was ever made to fail");
            break;
        }
        assert!(first.is_err());
        assert_eq!(house.onboard("clinic").await.state(), State::Active);
        let all = house.tenants.list(&house.cx(), Page::default()).await;
        assert_eq!(all.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_tenant_whose_keys_could_not_be_made_waits_for_the_repeat() {
    let house = House::new();
    house.sealer.fail_next(1);
    let cx = house.cx();
    let failed = house
        .tenants
        .onboard(&cx, new_tenant("clinic"), idem("clinic"))
        .await;
    assert!(matches!(failed, Err(TenantError::Provisioning(_))));
    let slug = TenantSlug::new("clinic").unwrap();
    let waiting = house.tenants.by_slug(&cx, &slug).await.unwrap();
    assert_eq!(waiting.state(), State::ProvisionFailed);
    let refused = house.admit(waiting.id()).await;
    assert!(matches!(refused, Err(TenantError::NotInService(_))));
    assert_eq!(house.onboard("clinic").await.id(), waiting.id());
}

#[tokio::test]
async fn no_tenant_is_active_without_its_entry() {
    let house = House::new();
    house.sink.set_down(true);
    let failed = house
        .tenants
        .onboard(&house.cx(), new_tenant("clinic"), idem("clinic"))
        .await;
    assert!(matches!(failed, Err(TenantError::Unaudited(_))));
    let all = house.tenants.list(&house.cx(), Page::default()).await;
    assert_eq!(all.unwrap()[0].state(), State::Provisioning);
    house.sink.set_down(false);
    assert_eq!(house.onboard("clinic").await.state(), State::Active);
    assert_eq!(house.sink.codes(), ["TEN-001"]);
}

#[tokio::test]
async fn an_abandoned_tenant_leaves_a_tombstone_and_nothing_else() {
    let house = House::new();
    house.sink.set_down(true);
    let cx = house.cx();
    let unfinished = house
        .tenants
        .onboard(&cx, new_tenant("clinic"), idem("clinic"))
        .await;
    assert!(unfinished.is_err());
    let tenant = house.tenants.list(&cx, Page::default()).await.unwrap()[0].clone();
    // The commit stands although the keys cannot be destroyed yet: the repeat destroys them.
    house.sealer.fail_next(1);
    let abandon = || {
        house.tenants.apply(
            &cx,
            tenant.id(),
            Command::Abandon,
            tenant.version(),
            idem("a"),
        )
    };
    assert!(matches!(abandon().await, Err(TenantError::Sealing(_))));
    assert_eq!(abandon().await.unwrap().state(), State::Erased);
    let keys = SealScope::of_tenant(&authority(), tenant.id());
    assert!(house.sealer.mac_key(keys, "x").await.is_err());
    assert_eq!(house.files(), 0);
    let again = house
        .tenants
        .onboard(&cx, new_tenant("clinic"), idem("b"))
        .await;
    assert!(matches!(again, Err(TenantError::SlugTaken)));
}

#[tokio::test]
async fn of_two_commands_on_one_version_one_wins() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    let cx = house.cx();
    let order = |command, key| {
        house
            .tenants
            .apply(&cx, tenant.id(), command, tenant.version(), idem(key))
    };
    let rename = Command::Rename(None);
    let (one, two) = tokio::join!(order(BILLING, "a"), order(rename, "b"));
    assert!(one.is_ok() != two.is_ok());
    let lost = if one.is_ok() { two } else { one };
    assert!(matches!(lost, Err(TenantError::VersionConflict { .. })));
    let after = house.record(tenant.id()).await;
    assert_eq!(after.version(), RecordVersion(tenant.version().0 + 1));
}

#[tokio::test]
async fn the_same_command_twice_at_once_happens_once() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    let cx = house.cx();
    let order = || {
        house
            .tenants
            .apply(&cx, tenant.id(), BILLING, tenant.version(), idem("a"))
    };
    let (one, two) = tokio::join!(order(), order());
    assert_eq!(one.unwrap(), two.unwrap());
}

#[tokio::test]
async fn a_repeated_command_returns_the_first_result_whatever_changed_since() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    let cx = house.cx();
    let order = |command, version, key| {
        house
            .tenants
            .apply(&cx, tenant.id(), command, version, idem(key))
    };
    let first = order(BILLING, tenant.version(), "a").await.unwrap();
    let resume = Command::Resume(SuspendReason::Billing);
    order(resume, first.version(), "b").await.unwrap();
    let repeat = order(BILLING, tenant.version(), "a").await.unwrap();
    assert_eq!(repeat, first);
    assert_eq!(house.record(tenant.id()).await.state(), State::Active);
    assert_eq!(house.sink.count("TEN-002"), 1);
    let legal = Command::Suspend(SuspendReason::Legal);
    let reused = order(legal, tenant.version(), "a").await;
    assert!(matches!(reused, Err(TenantError::IdempotencyMismatch)));
}

#[tokio::test]
async fn a_suspension_that_could_not_be_recorded_stands_and_its_repeat_records_it() {
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    let cx = house.cx();
    house.sink.set_down(true);
    let order = || {
        house
            .tenants
            .apply(&cx, tenant.id(), BILLING, tenant.version(), idem("a"))
    };
    assert!(matches!(order().await, Err(TenantError::Unaudited(_))));
    assert_eq!(house.record(tenant.id()).await.state(), State::Suspended);
    assert_eq!(house.sink.count("TEN-002"), 0);
    house.sink.set_down(false);
    order().await.unwrap();
    order().await.unwrap();
    assert_eq!(house.sink.count("TEN-002"), 1);
}

#[tokio::test]
async fn what_must_bite_raises_the_epoch_and_a_hold_does_not() {
    let house = House::new();
    let mut tenant = house.onboard("clinic").await;
    let cx = house.cx();
    let list = NetworkList::parse(["192.0.2.0/24"]).unwrap();
    for (command, bites) in [
        (BILLING, 1),
        (Command::Resume(SuspendReason::Billing), 1),
        (Command::SetNetwork(NetworkRule::Only(list)), 1),
        (Command::PlaceHold(Hold(Code::constant("h:1"))), 0),
        (Command::Rename(None), 0),
    ] {
        let key = idem(&format!("v{}", tenant.version()));
        let text = format!("{command:?}");
        let next = house
            .tenants
            .apply(&cx, tenant.id(), command, tenant.version(), key)
            .await
            .unwrap();
        assert_eq!(next.epoch(), tenant.epoch() + bites, "{text}");
        tenant = next;
    }
}

#[tokio::test]
async fn the_directory_survives_a_restart_and_lists_in_pages() {
    let house = House::new();
    let mut expected = Vec::new();
    for slug in ["a", "b", "c", "d", "e"] {
        expected.push(house.onboard(slug).await);
    }
    expected.sort_by_key(|tenant| tenant.id());
    let house = house.reopened().await;
    let mut page = Page::default();
    page.limit = 3;
    let mut listed = house.tenants.list(&house.cx(), page).await.unwrap();
    assert_eq!(listed.len(), 3);
    page.after = listed.last().map(|tenant| tenant.id());
    listed.extend(house.tenants.list(&house.cx(), page).await.unwrap());
    assert_eq!(listed, expected);
    house.onboard("f").await;
}

#[tokio::test]
async fn a_closed_service_answers_nothing() {
    use eonpro_core::component::Component as _;
    let house = House::new();
    let tenant = house.onboard("clinic").await;
    let scope = house.scope(tenant.id()).await;
    house.tenants.close().await;
    let refused = house.tenants.get(&house.cx(), tenant.id()).await;
    assert!(matches!(refused, Err(TenantError::Closed)));
    let refused = house.databases.run(&scope, |_| Ok(())).await;
    assert!(matches!(refused, Err(TenantError::Database(_))));
}
