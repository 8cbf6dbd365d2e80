//! Neither keys nor bytes on disk tell anything about documents, patients or tenants.

use std::path::Path;
use std::sync::Arc;

use eonpro_core::event::Digest;
use eonpro_core::id::{PublicId as _, SubjectId};
use eonpro_storage::{DocumentStore, StorageError};
use object_store::local::LocalFileSystem;
use uuid::Uuid;

use crate::support::{NOTE, World, eicar, note};

fn everything(dir: &Path, out: &mut Vec<u8>) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        out.extend_from_slice(path.file_name().unwrap().as_encoded_bytes());
        out.push(b'\n');
        if path.is_dir() {
            files += everything(&path, out);
        } else {
            out.extend(std::fs::read(&path).unwrap());
            files += 1;
        }
    }
    files
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

#[tokio::test]
async fn no_name_content_digest_or_tenant_is_found_in_any_key_or_byte() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalFileSystem::new_with_prefix(dir.path())
        .unwrap()
        .with_fsync(true);
    let world = World::on(Arc::new(store)).await;
    let subject = SubjectId::from_uuid(Uuid::from_u128(0xabcd_ef01_2345_6789));
    let new = note().about(subject);
    world
        .documents
        .put(&world.ours, new, NOTE.into())
        .await
        .unwrap();
    let infected = world.note(&eicar()).await;
    assert!(matches!(infected, Err(StorageError::Infected(_))));

    let mut all = Vec::new();
    let files = everything(dir.path(), &mut all);
    assert_eq!(files, 4);
    let digest = Digest::of(NOTE);
    let tenant = world.ours.tenant().uuid();
    let needles: Vec<Vec<u8>> = vec![
        b"miller".to_vec(),
        b"hiv_result".to_vec(),
        b"Marker 7f3a9c".to_vec(),
        b"doing well".to_vec(),
        b"EICAR".to_vec(),
        b"text/plain".to_vec(),
        b"clinical_document".to_vec(),
        b"clinician-1".to_vec(),
        digest.to_string().into_bytes(),
        digest.as_bytes()[..8].to_vec(),
        tenant.simple().to_string().into_bytes(),
        tenant.to_string().into_bytes(),
        tenant.as_bytes().to_vec(),
        subject.uuid().simple().to_string().into_bytes(),
        subject.uuid().to_string().into_bytes(),
    ];
    for needle in needles {
        let text = String::from_utf8_lossy(&needle).into_owned();
        assert!(!contains(&all, &needle), "{text}");
        // The search itself can find: a planted control.
        let mut planted = all.clone();
        planted.extend_from_slice(&needle);
        assert!(contains(&planted, &needle));
    }
}

#[tokio::test]
async fn errors_and_descriptions_print_no_name_and_no_content() {
    let world = World::new().await;
    let stored = world.note(NOTE).await.unwrap();
    let opened = world
        .documents
        .open(&world.ours, &stored.document.into(), None)
        .await
        .unwrap();
    let mut refused = note();
    refused.declared = crate::support::media("application/pdf");
    let refused = world
        .documents
        .put(&world.ours, refused, NOTE.into())
        .await
        .unwrap_err();
    let printed = format!("{stored:?} {opened:?} {refused:?} {refused} {:?}", note());
    for needle in ["miller", "doing well", &Digest::of(NOTE).to_string()] {
        assert!(!printed.contains(needle), "{printed}");
    }
}
