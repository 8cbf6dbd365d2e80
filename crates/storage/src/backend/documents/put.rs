//! Storing a version: guarded, sealed under quarantine extent by extent, scanned, released.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use eonpro_core::TenantScope;
use eonpro_core::event::{Code, Digest};
use eonpro_core::id::{DocumentId, PublicId as _, SubjectId, VersionId};
use eonpro_core::phi::Phi;
use eonpro_core::port::{DataKey, KeyPurpose, SealScope, WrappedKey};
use eonpro_core::task;
use eonpro_core::time::Timestamp;
use futures_util::StreamExt as _;
use object_store::path::Path;

use super::gate::in_time;
use super::read::HEAVY;
use super::{Appended, Inner};
use crate::error::{Held, StorageError};
use crate::events;
use crate::guard::Guard;
use crate::history::{Chain, VersionState};
use crate::layout::{self, Place};
use crate::manifest::{Added, Entry, Outcome};
use crate::objects::Created;
use crate::scan::{Scan, ScanError, ScanInput, ScannerId, Verdict};
use crate::service::{Expect, Head, NewDocument, UploadBody, VersionInfo};

const LONGEST_NAME: usize = 255;
/// How often a version without an expected head tries again after somebody else was faster.
const ATTEMPTS: usize = 16;

/// Stores one version; runs in a task of its own.
pub(super) async fn put(
    inner: Arc<Inner>,
    scope: TenantScope,
    new: NewDocument,
    body: UploadBody,
    size: Option<u64>,
) -> Result<VersionInfo, StorageError> {
    check_name(&new.name)?;
    let policy = inner.config.policy.of(new.category)?;
    let guard = Guard::new(policy, &new.declared)?;
    if size.is_some_and(|size| size > policy.max_size) {
        let limit = policy.max_size;
        return Err(StorageError::TooLarge { limit });
    }
    let (document, chain) = inner.target(&scope, &new).await?;
    let version = VersionId::random(&**inner.emitter.entropy());
    let place = Place::key(document, version);
    let seal_scope = SealScope::from(&scope);
    let (key, wrapped) = inner
        .sealer
        .data_key(seal_scope, KeyPurpose::QUARANTINE, &place.cell()?)
        .await?;
    let scanner = inner.scanner.id();
    let mut intake = Intake {
        inner: &inner,
        scope: &scope,
        document,
        version,
        key,
        guard,
        scan: inner.begin_scan(&scope, size).await,
        written: Vec::new(),
        sha256: ring::digest::Context::new(&ring::digest::SHA256),
        size: 0,
    };
    let taken = intake.take(body).await;
    let Intake {
        guard,
        scan,
        written,
        sha256,
        size,
        ..
    } = intake;
    if let Err(error) = taken {
        // No record names them and none ever will.
        inner.objects.abandon(written).await;
        return Err(error);
    }
    let upload = Upload {
        document,
        version,
        subject: new
            .subject
            .or(chain.as_ref().and_then(|chain| chain.subject)),
        new,
        size,
        sniffed: guard.kind().as_str(),
        sha256: digest_of(sha256)?,
        quarantined: wrapped,
        verdict: inner.verdict(&scope, scan).await,
        scanner,
        written,
    };
    inner.commit(&scope, upload, chain).await
}

fn check_name(name: &Phi<String>) -> Result<(), StorageError> {
    let name = name.expose();
    let fits = (1..=LONGEST_NAME).contains(&name.len())
        && !name
            .chars()
            .any(|c| c.is_control() || matches!(c, '/' | '\\'));
    if fits {
        Ok(())
    } else {
        Err(StorageError::InvalidName)
    }
}

fn digest_of(context: ring::digest::Context) -> Result<Digest, StorageError> {
    let bytes: [u8; 32] = context
        .finish()
        .as_ref()
        .try_into()
        .map_err(|_| StorageError::Corrupt)?;
    Ok(Digest::from_bytes(bytes))
}

/// A version whose bytes are durable and whose verdict is known, or known to be missing.
struct Upload {
    document: DocumentId,
    version: VersionId,
    subject: Option<SubjectId>,
    new: NewDocument,
    size: u64,
    sniffed: &'static str,
    sha256: Digest,
    quarantined: WrappedKey,
    verdict: Result<Verdict, ScanError>,
    scanner: ScannerId,
    written: Vec<Path>,
}

impl Inner {
    /// Which document the upload goes on top of, and what is known of it.
    async fn target(
        &self,
        scope: &TenantScope,
        new: &NewDocument,
    ) -> Result<(DocumentId, Option<Chain>), StorageError> {
        let (document, seq) = match new.expect {
            Expect::New => return Ok((DocumentId::random(&**self.emitter.entropy()), None)),
            Expect::Head { document, seq } => (document, Some(seq)),
            Expect::Any(document) => (document, None),
        };
        let chain = self.load(scope, document).await?;
        fits(&chain, new)?;
        if seq.is_some_and(|seq| seq != chain.head.seq) {
            let head = Some(chain.head.seq);
            return Err(StorageError::Conflict { head });
        }
        Ok((document, Some(chain)))
    }

    async fn begin_scan(
        &self,
        scope: &TenantScope,
        size: Option<u64>,
    ) -> Result<Box<dyn Scan>, ScanError> {
        let begun = self.scanner.begin(ScanInput::sized(size));
        let begun = in_time(scope.cx(), &**self.emitter.clock(), begun).await;
        begun.map_err(|_| ScanError::Timeout)?
    }

    async fn verdict(
        &self,
        scope: &TenantScope,
        scan: Result<Box<dyn Scan>, ScanError>,
    ) -> Result<Verdict, ScanError> {
        let verdict = in_time(scope.cx(), &**self.emitter.clock(), scan?.finish()).await;
        verdict.map_err(|_| ScanError::Timeout)?
    }

    async fn pull(
        &self,
        scope: &TenantScope,
        body: &mut UploadBody,
    ) -> Result<Option<Bytes>, StorageError> {
        let next = in_time(scope.cx(), &**self.emitter.clock(), body.next());
        next.await?.transpose()
    }

    /// Writes the record that makes the version exist, and says so.
    async fn commit(
        &self,
        scope: &TenantScope,
        upload: Upload,
        mut chain: Option<Chain>,
    ) -> Result<VersionInfo, StorageError> {
        let mut events = match self.entries(scope, &upload).await {
            Ok(events) => events,
            Err(error) => {
                self.objects.abandon(upload.written).await;
                return Err(error);
            }
        };
        let added = self.emitter.clock().wall();
        let mut attempts = ATTEMPTS;
        let (head, doubt) = loop {
            let after = chain.as_ref().map(|chain| chain.head);
            let appended = self.append(scope, upload.document, after, added, events);
            let (appended, unused) = appended.await?;
            events = unused;
            match (appended, upload.new.expect) {
                (Appended::Done(head), _) => break (head, None),
                (Appended::Doubtful(head, error), _) => break (head, Some(error)),
                (Appended::Lost { .. }, Expect::Any(document)) if attempts > 0 => {
                    attempts -= 1;
                    let newer = self.load(scope, document).await?;
                    fits(&newer, &upload.new)?;
                    chain = Some(newer);
                }
                // Only now is it certain that no record names the extents: an error above may hide
                // a record that is there or still arrives.
                (Appended::Lost { seq }, _) => {
                    self.objects.abandon(upload.written).await;
                    return Err(StorageError::Conflict { head: Some(seq) });
                }
            }
        };
        let told = self.announce(scope, upload.info(head, added), upload).await;
        match doubt {
            // It may be there and is audited, but nobody may rely on it.
            Some(error) => Err(error),
            None => told,
        }
    }

    async fn entries(
        &self,
        scope: &TenantScope,
        upload: &Upload,
    ) -> Result<Vec<Entry>, StorageError> {
        let version = upload.version.uuid();
        let added = Added {
            version,
            category: upload.new.category.as_str().to_owned(),
            subject: upload.subject.map(SubjectId::uuid),
            size: upload.size,
            extent_size: self.config.extent_size as u64,
            declared: upload.new.declared.as_str().to_owned(),
            sniffed: upload.sniffed.to_owned(),
            name: upload.new.name.clone(),
            sha256: upload.sha256.to_string(),
            key: upload.quarantined.0.clone(),
        };
        let mut entries = vec![Entry::VersionAdded(Box::new(added))];
        let (outcome, name) = match &upload.verdict {
            Err(_) => return Ok(entries),
            Ok(Verdict::Clean) => (Outcome::Clean, None),
            Ok(Verdict::Infected(name)) => (Outcome::Infected, Some(name)),
            Ok(Verdict::Refused(name)) => (Outcome::Refused, Some(name)),
        };
        entries.push(Entry::Verdict {
            version,
            outcome,
            name: name.map(|name| name.as_str().to_owned()),
            engine: upload.scanner.engine.as_str().to_owned(),
            signatures: upload.scanner.signatures.as_str().to_owned(),
        });
        if outcome == Outcome::Clean {
            let place = Place::key(upload.document, upload.version);
            let keys = self.config.policy.of(upload.new.category)?.keys;
            let (scope, from) = (SealScope::from(scope), KeyPurpose::QUARANTINE);
            let released = self
                .sealer
                .rewrap(scope, from, keys, &place.cell()?, &upload.quarantined)
                .await?;
            entries.push(Entry::Released {
                version,
                key: released.0,
            });
        }
        Ok(entries)
    }

    /// Records the stored version in the audit log and turns its verdict into the answer.
    async fn announce(
        &self,
        scope: &TenantScope,
        info: VersionInfo,
        upload: Upload,
    ) -> Result<VersionInfo, StorageError> {
        let held = Held {
            document: upload.document,
            version: upload.version,
        };
        let signature = match &upload.verdict {
            Ok(Verdict::Infected(signature)) => Some(signature.clone()),
            _ => None,
        };
        if let Some(signature) = signature {
            events::infected(&self.emitter, scope, &info, signature, &upload.scanner).await?;
            return Err(StorageError::Infected(held));
        }
        events::uploaded(&self.emitter, scope, &info).await?;
        match upload.verdict {
            Ok(Verdict::Clean) => Ok(info),
            Ok(Verdict::Infected(_)) => Err(StorageError::Infected(held)),
            Ok(Verdict::Refused(_)) => Err(StorageError::Unscannable(held)),
            Err(source) => Err(StorageError::Unscanned { held, source }),
        }
    }
}

impl Upload {
    fn info(&self, head: Head, added: Timestamp) -> VersionInfo {
        VersionInfo {
            document: self.document,
            version: self.version,
            category: self.new.category,
            subject: self.subject,
            state: match &self.verdict {
                Ok(Verdict::Clean) => VersionState::Available,
                Ok(Verdict::Infected(_)) => VersionState::Blocked,
                Ok(Verdict::Refused(_)) => VersionState::Refused,
                Err(_) => VersionState::Quarantined,
            },
            size: self.size,
            declared: self.new.declared.clone(),
            sniffed: Code::constant(self.sniffed),
            name: self.new.name.clone(),
            sha256: Phi::new(*self.sha256.as_bytes()),
            added,
            head,
        }
    }
}

/// A deleted document takes no versions, and all versions share category and subject.
fn fits(chain: &Chain, new: &NewDocument) -> Result<(), StorageError> {
    if chain.deleted {
        return Err(StorageError::NotFound);
    }
    let subject_fits = new.subject.is_none() || new.subject == chain.subject;
    if chain.category == new.category && subject_fits {
        Ok(())
    } else {
        Err(StorageError::Mismatched)
    }
}

/// Takes the body in: one extent in memory, one ahead of it, one sealed.
struct Intake<'a> {
    inner: &'a Inner,
    scope: &'a TenantScope,
    document: DocumentId,
    version: VersionId,
    key: Arc<dyn DataKey>,
    guard: Guard,
    scan: Result<Box<dyn Scan>, ScanError>,
    written: Vec<Path>,
    sha256: ring::digest::Context,
    size: u64,
}

impl Intake<'_> {
    async fn take(&mut self, mut body: UploadBody) -> Result<(), StorageError> {
        let extent_size = self.inner.config.extent_size;
        let mut ahead = BytesAhead::default();
        let mut more = true;
        loop {
            // One byte beyond the extent tells whether it is the last.
            while more && ahead.len() <= extent_size {
                match self.inner.pull(self.scope, &mut body).await? {
                    Some(chunk) => ahead.push(chunk),
                    None => more = false,
                }
            }
            let extent = ahead.pop(extent_size);
            let last = !more && ahead.len() == 0;
            self.extent(extent, last).await?;
            if last {
                return Ok(());
            }
        }
    }

    async fn extent(&mut self, extent: Bytes, last: bool) -> Result<(), StorageError> {
        self.guard.see(&extent, last)?;
        if extent.is_empty() {
            return Ok(());
        }
        self.feed(&extent).await;
        let ordinal = u32::try_from(self.written.len()).map_err(|_| StorageError::LimitExceeded)?;
        self.size = self.size.saturating_add(extent.len() as u64);
        let sealed = self.seal(extent, ordinal).await?;
        let path = layout::extent(&self.inner.tag(self.scope), self.version, ordinal);
        self.written.push(path.clone());
        match self
            .inner
            .objects
            .create(&path, &Bytes::from(sealed))
            .await?
        {
            Created::Ours => Ok(()),
            Created::Doubtful(error) => Err(error),
            // A fresh random version id: somebody planted it.
            Created::Theirs => Err(StorageError::Corrupt),
        }
    }

    /// A scanner that fails leaves the upload without a verdict; the bytes are kept all the same.
    async fn feed(&mut self, extent: &Bytes) {
        if let Ok(scan) = &mut self.scan {
            let fed = scan.feed(extent.clone());
            let fed = in_time(self.scope.cx(), &**self.inner.emitter.clock(), fed).await;
            if let Err(error) = fed.unwrap_or(Err(ScanError::Timeout)) {
                self.scan = Err(error);
            }
        }
    }

    async fn seal(&mut self, extent: Bytes, ordinal: u32) -> Result<Vec<u8>, StorageError> {
        let place = Place::extent(self.document, self.version, ordinal);
        let key = Arc::clone(&self.key);
        let mut sha256 = self.sha256.clone();
        let heavy = extent.len() >= HEAVY;
        let seal = move || {
            sha256.update(&extent);
            let sealed = key.seal(&place.cell()?, &extent)?;
            Ok::<_, StorageError>((sealed, sha256))
        };
        let (sealed, sha256) = if heavy {
            task::blocking(seal).await??
        } else {
            seal()?
        };
        self.sha256 = sha256;
        Ok(sealed)
    }
}

/// Chunks of a body that were received and not yet cut into extents.
#[derive(Default)]
struct BytesAhead {
    chunks: std::collections::VecDeque<Bytes>,
    len: usize,
}

impl BytesAhead {
    fn len(&self) -> usize {
        self.len
    }

    fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// The first `most` bytes, without copying where they lie in one chunk.
    fn pop(&mut self, most: usize) -> Bytes {
        let want = most.min(self.len);
        self.len -= want;
        if let Some(first) = self.chunks.front_mut()
            && first.len() >= want
        {
            let cut = first.split_to(want);
            if first.is_empty() {
                self.chunks.pop_front();
            }
            return cut;
        }
        let mut joined = BytesMut::with_capacity(want);
        while let Some(mut chunk) = self.chunks.pop_front() {
            let take = chunk.len().min(want - joined.len());
            joined.extend_from_slice(&chunk.split_to(take));
            if !chunk.is_empty() {
                self.chunks.push_front(chunk);
                break;
            }
            if joined.len() == want {
                break;
            }
        }
        joined.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_name_has_a_size_and_no_path() {
        let longest = "x".repeat(255);
        for name in ["scan.pdf", "Größe 1.txt", longest.as_str()] {
            assert!(check_name(&Phi::from(name)).is_ok(), "{name}");
        }
        let too_long = "x".repeat(256);
        for name in ["", "a/b", "a\\b", "a\nb", "a\0b", too_long.as_str()] {
            assert!(check_name(&Phi::from(name)).is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn cutting_into_extents_keeps_every_byte_in_order(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..20),
            most in 1_usize..16,
        ) {
            let whole = chunks.concat();
            let mut ahead = BytesAhead::default();
            for chunk in chunks {
                ahead.push(Bytes::from(chunk));
            }
            let mut cut = Vec::new();
            while ahead.len() > 0 {
                let extent = ahead.pop(most);
                prop_assert!(extent.len() == most || ahead.len() == 0);
                cut.extend_from_slice(&extent);
            }
            prop_assert_eq!(cut, whole);
        }
    }
}
