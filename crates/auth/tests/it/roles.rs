//! Authorization at the service: denied by default, denials recorded.

use eonpro_auth::{Auth as _, AuthExt as _, Decision, DenyReason, Permission, Resource};
use eonpro_core::entropy::SeededEntropy;
use eonpro_core::event::{Code, FieldValue, ObjectRef};
use eonpro_core::id::{PublicId as _, RowId, SubjectId};
use eonpro_core::{Classify as _, ErrorKind};
use eonpro_testkit::Actors;

use crate::world::{READ, World};

const DELETE: Permission = Permission::constant("patient:delete");

#[tokio::test]
async fn a_denial_is_recorded_with_the_patient_and_a_permit_is_not() {
    let world = World::new();
    let scope = world.scope(1);
    let entropy = SeededEntropy::new(1);
    let (row, subject) = (RowId::random(&entropy), SubjectId::random(&entropy));
    let chart = Resource::of(ObjectRef::new(Code::constant("patient"), row)).about(subject);
    let decide = async |permission: &Permission| {
        let decided = world.auth.authorize(&scope, permission, &chart).await;
        decided.unwrap()
    };
    assert_eq!(decide(&READ).await, Decision::Permit);
    assert_eq!(world.sink.codes(), Vec::<&str>::new());
    let denied = Decision::Deny(DenyReason::NotGranted);
    assert_eq!(decide(&DELETE).await, denied);
    assert_eq!(world.auth.decide(&scope, &DELETE), denied);
    let [seen] = &world.sink.events()[..] else {
        panic!("one event")
    };
    assert_eq!(seen.code, "AUTHZ-001");
    assert_eq!(seen.event.subject(), Some(subject));
    let fields = seen.event.fields();
    assert!(fields.iter().any(|(_, value)| matches!(
        value, FieldValue::Object(object) if object.id == row.uuid()
    )));
}

#[tokio::test]
async fn a_role_that_the_book_does_not_know_may_do_nothing() {
    let world = World::new();
    let admin = world.scope_of(1, Actors::Admin, None);
    let refused = world.auth.require(&admin, &READ, &Resource::none()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::PermissionDenied);
    let clinician = world.scope(1);
    world
        .auth
        .require(&clinician, &READ, &Resource::none())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_denial_that_cannot_be_recorded_permits_nothing() {
    let world = World::new();
    let scope = world.scope(1);
    world.sink.set_down(true);
    let failed = world
        .auth
        .authorize(&scope, &DELETE, &Resource::none())
        .await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unavailable);
}
