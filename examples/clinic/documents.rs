//! Step 4: every note through sniffing, scan, sealing and versioning, and one infected file.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use eonpro::auth::{AuthExt as _, Resource as Target};
use eonpro::core::TenantScope;
use eonpro::core::id::DocumentId;
use eonpro::storage::{
    Category, DocumentRef, DocumentStoreExt as _, MediaType, NewDocument, StorageError,
    VersionState,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::charts::Chart;
use crate::clinics::Clinic;
use crate::dataset::Note;
use crate::site::{Failure, Site, WRITE_CHART, in_parallel};

/// How many notes one request brings.
const BATCH: usize = 8;
/// The longest document that is read at once.
pub const LARGEST: usize = 64 << 20;

/// A note that was stored.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// The position of the clinic.
    pub organization: usize,
    /// The position of the patient.
    pub patient: usize,
    /// The position of the note.
    pub note: usize,
    /// The document.
    pub document: DocumentId,
}

/// Stores all notes; those that the store refuses are named with the reason.
pub async fn store(
    site: &Arc<Site>,
    charts: &[Chart],
) -> Result<(Vec<Stored>, Vec<String>), Failure> {
    let mut notes: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (position, note) in site.dataset.notes.iter().enumerate() {
        notes
            .entry((note.organization, note.patient))
            .or_default()
            .push(position);
    }
    let mut batches = Vec::new();
    for chart in charts {
        let own = notes
            .remove(&(chart.clinic.organization, chart.patient))
            .unwrap_or_default();
        batches.extend(
            own.chunks(BATCH)
                .map(|batch| (chart.clone(), batch.to_vec())),
        );
    }
    let results = in_parallel("documents, in batches", batches, |(chart, batch)| {
        let site = Arc::clone(site);
        async move { store_batch(&site, &chart, batch).await }
    })
    .await?;
    let (mut stored, mut refused) = (Vec::new(), Vec::new());
    for (documents, reasons) in results {
        stored.extend(documents);
        refused.extend(reasons);
    }
    stored.sort_by_key(|one| one.note);
    Ok((stored, refused))
}

async fn store_batch(
    site: &Site,
    chart: &Chart,
    batch: Vec<usize>,
) -> Result<(Vec<Stored>, Vec<String>), Failure> {
    let scope = chart.clinic.enter(site).await?;
    site.foundation
        .auth()
        .require(&scope, &WRITE_CHART, &Target::none())
        .await?;
    let puts = stream::iter(batch).map(|position| put(site, &scope, chart, position));
    let results: Vec<_> = puts.buffer_unordered(BATCH).try_collect().await?;
    let (mut stored, mut refused) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(one) => stored.push(one),
            Err(reason) => refused.push(reason),
        }
    }
    Ok((stored, refused))
}

async fn put(
    site: &Site,
    scope: &TenantScope,
    chart: &Chart,
    position: usize,
) -> Result<Result<Stored, String>, Failure> {
    let note: &Note = site.dataset.notes.get(position).ok_or("no such note")?;
    let declared = note.media_type.clone();
    let name = format!("note-{}", position + 1);
    let new = NewDocument::new(Category::ClinicalDocument, declared, name).about(chart.subject);
    let body = Bytes::copy_from_slice(note.body.expose());
    match site.foundation.documents().put(scope, new, body).await {
        Ok(info) => Ok(Ok(Stored {
            organization: chart.clinic.organization,
            patient: chart.patient,
            note: position,
            document: info.document,
        })),
        Err(error @ (StorageError::Rejected(_) | StorageError::TooLarge { .. })) => {
            let reason = std::error::Error::source(&error).map(ToString::to_string);
            Ok(Err(format!(
                "note {}: {error}: {}",
                position + 1,
                reason.unwrap_or_default()
            )))
        }
        Err(other) => Err(other.into()),
    }
}

/// The EICAR test file (eicar.org), in two halves, so that no scanner takes the program for it.
fn eicar() -> Bytes {
    let halves = [
        "X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR",
        "-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*",
    ];
    Bytes::from(halves.concat())
}

/// Uploads an infected file. Returns whether it ended in quarantine, closed to everybody.
pub async fn infect(site: &Site, clinic: &Clinic) -> Result<bool, Failure> {
    let scope = clinic.enter(site).await?;
    let documents = site.foundation.documents();
    let declared = MediaType::parse("text/plain; charset=utf-8")?;
    let new = NewDocument::new(Category::ClinicalDocument, declared, "attachment.txt");
    let held = match documents.put(&scope, new, eicar()).await {
        Err(StorageError::Infected(held)) => held,
        Ok(_) => return Ok(false),
        Err(other) => return Err(other.into()),
    };
    let at = DocumentRef::current(held.document).version(held.version);
    let blocked = documents.stat(&scope, &at).await?.state == VersionState::Blocked;
    let read = documents.read(&scope, &at, LARGEST).await;
    Ok(blocked && matches!(read, Err(StorageError::Unreadable { .. })))
}

/// Whether the document opens and is the note that was stored.
pub async fn opens(site: &Site, scope: &TenantScope, stored: &Stored) -> Result<bool, Failure> {
    let at = DocumentRef::current(stored.document);
    let bytes = site
        .foundation
        .documents()
        .read(scope, &at, LARGEST)
        .await?;
    let note = site.dataset.notes.get(stored.note);
    Ok(note.is_some_and(|note| note.body.expose() == &*bytes))
}
