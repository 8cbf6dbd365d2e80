//! What the disk alone costs, and an entry of the size that ours have.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use serde::Serialize;

/// The members of an entry with texts of the usual lengths.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Entry {
    id: String,
    code: String,
    name: String,
    occurred: String,
    outcome: u8,
    tenant: String,
    actor: Actor,
    aal: u8,
    request: String,
    trace: String,
    purpose: String,
    filler: String,
}

#[derive(Debug, Clone, Serialize)]
struct Actor {
    kind: String,
    id: String,
    roles: Vec<String>,
}

impl Entry {
    /// One that is `bytes` long as JSON.
    pub(crate) fn of(bytes: usize) -> Self {
        let uuid = "0190a1b2-0000-7000-8000-00000000000a".to_owned();
        let mut entry = Self {
            id: uuid.clone(),
            code: "PHI-001".to_owned(),
            name: "phi.record.viewed".to_owned(),
            occurred: "2026-11-28T12:00:00.000000000Z".to_owned(),
            outcome: 0,
            tenant: uuid.clone(),
            actor: Actor {
                kind: "user".to_owned(),
                id: uuid.clone(),
                roles: vec!["clinician".to_owned()],
            },
            aal: 2,
            request: uuid,
            trace: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            purpose: "TREAT".to_owned(),
            filler: String::new(),
        };
        let length = serde_json::to_vec(&entry).unwrap().len();
        entry.filler = "a".repeat(bytes.saturating_sub(length));
        entry
    }
}

/// A file of zeros that are on disk, so that a sync writes no metadata; its cursor at the beginning.
pub(crate) fn preallocated(path: &Path, bytes: usize) -> File {
    let mut file = File::create(path).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..bytes.div_ceil(zeros.len()) {
        file.write_all(&zeros).unwrap();
    }
    file.sync_all().unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file
}
