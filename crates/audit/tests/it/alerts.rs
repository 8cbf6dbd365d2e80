//! Alerts follow the durable entry, and are on record themselves.

use eonpro_audit::{AuditLog as _, LogId};
use eonpro_core::component::{Component as _, Health};
use eonpro_testkit::tenant_id;

use crate::house::House;

#[tokio::test]
async fn a_critical_event_alerts_once_and_the_alert_is_on_record() {
    let house = House::new();
    let audit = house.open().await;
    let event = house.crossed();
    audit.append(&house.cx(1), &event).await.unwrap();
    audit.append(&house.cx(1), &house.viewed()).await.unwrap();
    audit.close().await;

    assert_eq!(house.alerts.codes(), ["TEN-004"]);
    let alert = house.alerts.alerts().remove(0);
    assert_eq!(alert.tenant, Some(tenant_id(1)));
    assert_eq!(alert.event, event.id());

    let audit = house.open().await;
    let log = LogId::Tenant(tenant_id(1));
    let views = audit.read(&house.system(), &log, 0..9).await.unwrap();
    let mut codes: Vec<String> = views
        .iter()
        .map(|view| view.entry().unwrap().code)
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, ["PHI-001", "SEC-001", "TEN-004"]);
}

#[tokio::test]
async fn an_alert_that_nobody_takes_is_counted_and_the_entry_stands() {
    let house = House::new();
    house.alerts.set_down(true);
    let audit = house.open().await;
    audit.append(&house.cx(1), &house.crossed()).await.unwrap();
    audit.close().await;
    assert_eq!(audit.stats().alerts_failed, 1);
    let audit = house.open().await;
    assert_eq!(audit.health().await, Health::Healthy);
    let log = LogId::Tenant(tenant_id(1));
    assert_eq!(audit.read(&house.cx(1), &log, 0..9).await.unwrap().len(), 2);
}
