//! What waits in the spool tells no more than what is in the log.

use super::*;
use crate::subjects::Pseudonym;
use eonpro_core::phi::Phi;

#[tokio::test]
async fn the_spool_names_no_patient_and_no_text_and_folds_in_as_it_is() {
    let bed = Bed::new();
    let audit = bed.open().await;
    let entropy = SystemEntropy::new();
    let patient = SubjectId::random(&entropy);
    bed.plan.dead.store(true, Ordering::SeqCst);
    let event = bed.event(authz::BreakGlassStarted {
        grant: RowId::random(&entropy).uuid(),
        patient,
        justification: Phi::from("Lovelace collapsed"),
        expires_at: Timestamp::EPOCH,
    });
    audit.emit(&bed.cx(), &event).await.unwrap();
    audit.close().await;

    let spool = std::fs::read(Layout::new(&bed.log()).spool()).unwrap();
    let spool = String::from_utf8_lossy(&spool).into_owned();
    for needle in [
        patient.to_string(),
        patient.uuid().simple().to_string(),
        "Lovelace".to_owned(),
        Digest::of(patient.uuid().as_bytes()).to_string(),
        Digest::of(patient.to_string().as_bytes()).to_string(),
    ] {
        assert!(!spool.contains(&needle), "{needle}");
    }

    bed.plan.dead.store(false, Ordering::SeqCst);
    let audit = bed.open().await;
    let log = LogId::Tenant(tenant_id(1));
    let view = audit.read(&bed.cx(), &log, 0..1).await.unwrap().remove(0);
    let entry = view.entry().unwrap();
    let named = Pseudonym::parse(&entry.subject.unwrap()).unwrap();
    assert!(spool.contains(&named.to_string()));
    assert!(entry.commit.contains_key("justification"));
}
