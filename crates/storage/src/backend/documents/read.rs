//! Reading: a document's chain, and the bytes of a released version.

use std::ops::Range;
use std::sync::Arc;

use eonpro_core::TenantScope;
use eonpro_core::event::Digest;
use eonpro_core::id::{DocumentId, PublicId as _, VersionId};
use eonpro_core::port::{DataKey, KeyPurpose, SealScope};
use eonpro_core::secret::SecretBytes;
use eonpro_core::task;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::Inner;
use crate::error::StorageError;
use crate::events;
use crate::history::Chain;
use crate::layout::{self, Place, TenantTag};
use crate::manifest::{MAX_RECORD, MAX_RECORDS, Record};
use crate::service::{DocumentRef, OpenDocument, VersionInfo};

/// Manifest records fetched at once.
const AHEAD: usize = 8;
/// Bytes from which opening an extent moves off the asynchronous threads.
pub(super) const HEAVY: usize = 64 << 10;

impl Inner {
    /// The document as its records tell; every link of the chain is checked.
    pub(super) async fn load(
        &self,
        scope: &TenantScope,
        document: DocumentId,
    ) -> Result<Chain, StorageError> {
        let tag = self.tag(scope);
        let folder = layout::manifest_folder(&tag, document);
        let listed = self.objects.list(&folder, MAX_RECORDS).await?;
        let mut seqs = Vec::with_capacity(listed.len());
        for (key, _) in &listed {
            seqs.push(layout::manifest_seq(key).ok_or(StorageError::Corrupt)?);
        }
        seqs.sort_unstable();
        if seqs.len() > MAX_RECORDS || !seqs.iter().copied().eq(0..seqs.len() as u64) {
            return Err(StorageError::Corrupt);
        }
        let sealed = stream::iter(seqs)
            .map(|seq| {
                let key = layout::manifest(&tag, document, seq);
                async move {
                    self.objects
                        .read(&key, MAX_RECORD)
                        .await
                        .map(|bytes| (seq, bytes))
                }
            })
            .buffered(AHEAD);
        let mut sealed = std::pin::pin!(sealed);
        let mut records = Vec::new();
        let mut prev: Option<Digest> = None;
        while let Some((seq, bytes)) = sealed.try_next().await? {
            let place = Place::manifest(document, seq);
            let plain = self
                .sealer
                .open(
                    SealScope::from(scope),
                    KeyPurpose::FILES,
                    &place.cell()?,
                    &bytes,
                )
                .await?;
            let record = Record::decode(&plain, document.uuid(), seq, prev)?;
            let digest = Digest::of(&bytes);
            prev = Some(digest);
            records.push((record, digest));
        }
        Chain::replay(document, records)
    }

    /// The document that `at` names, long enough to contain the head that the caller knows.
    pub(super) async fn load_at(
        &self,
        scope: &TenantScope,
        at: &DocumentRef,
    ) -> Result<Chain, StorageError> {
        match self.load(scope, at.document).await {
            // All records are gone, although the caller has seen one.
            Err(StorageError::NotFound) if at.known.is_some() => Err(StorageError::Truncated),
            other => other,
        }
    }
}

pub(super) async fn stat(
    inner: &Inner,
    scope: &TenantScope,
    at: &DocumentRef,
) -> Result<VersionInfo, StorageError> {
    let chain = inner.load_at(scope, at).await?;
    chain.info(chain.find(at)?)
}

/// A version that readers may open: its description, key and shape.
struct Released {
    info: VersionInfo,
    key: Arc<dyn DataKey>,
    extent_size: u64,
}

async fn released(
    inner: &Inner,
    scope: &TenantScope,
    at: &DocumentRef,
) -> Result<Released, StorageError> {
    let chain = inner.load_at(scope, at).await?;
    let version = chain.find(at)?;
    // Not a check of states: without a release there is no key that a reader could unwrap.
    let Some(wrapped) = &version.released else {
        let state = chain.state(version);
        return Err(StorageError::Unreadable { state });
    };
    let purpose = chain.purpose(&inner.config.policy)?;
    let place = Place::key(chain.document, version.id);
    let key = inner
        .sealer
        .unwrap(SealScope::from(scope), purpose, &place.cell()?, wrapped)
        .await?;
    Ok(Released {
        info: chain.info(version)?,
        key,
        extent_size: version.extent_size,
    })
}

/// The description of a version, if readers may open it now.
pub(super) async fn readable(
    inner: &Inner,
    scope: &TenantScope,
    at: &DocumentRef,
) -> Result<VersionInfo, StorageError> {
    released(inner, scope, at)
        .await
        .map(|released| released.info)
}

pub(super) async fn open(
    inner: &Arc<Inner>,
    scope: &TenantScope,
    at: &DocumentRef,
    range: Option<Range<u64>>,
) -> Result<OpenDocument, StorageError> {
    let Released {
        info,
        key,
        extent_size,
    } = released(inner, scope, at).await?;
    let range = satisfiable(range, info.size)?;
    let mut reader = ExtentReader {
        inner: Arc::clone(inner),
        tag: inner.tag(scope),
        document: info.document,
        version: info.version,
        key,
        size: info.size,
        extent_size,
        rest: range.clone(),
    };
    // Authenticated before the log says that it was handed out; handed out after.
    let first = reader.next().await?;
    events::downloaded(&inner.emitter, scope, &info, at.grant).await?;
    let rest = stream::try_unfold(reader, |mut reader| async move {
        let part = reader.next().await?;
        Ok(part.map(|part| (part, reader)))
    });
    let body = stream::iter(first.map(Ok)).chain(rest).boxed();
    Ok(OpenDocument::new(info, range, body))
}

/// RFC 9110 section 14.1.2: an end beyond the document is cut, a start beyond it is refused.
fn satisfiable(range: Option<Range<u64>>, len: u64) -> Result<Range<u64>, StorageError> {
    let Some(Range { start, end }) = range else {
        return Ok(0..len);
    };
    let end = end.min(len);
    if start >= end {
        return Err(StorageError::RangeNotSatisfiable { len });
    }
    Ok(start..end)
}

/// Fetches and opens the extents of one version in order.
struct ExtentReader {
    inner: Arc<Inner>,
    tag: TenantTag,
    document: DocumentId,
    version: VersionId,
    key: Arc<dyn DataKey>,
    size: u64,
    extent_size: u64,
    rest: Range<u64>,
}

impl ExtentReader {
    /// The part of the next extent that lies in the range; nothing at its end.
    async fn next(&mut self) -> Result<Option<SecretBytes>, StorageError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let index = self.rest.start / self.extent_size;
        let begin = index * self.extent_size;
        let end = self.size.min(begin.saturating_add(self.extent_size));
        let ordinal = u32::try_from(index).map_err(|_| StorageError::Corrupt)?;
        let extent = self.extent(ordinal, end - begin).await?;
        let from = self.rest.start - begin;
        let to = self.rest.end.min(end) - begin;
        self.rest.start = self.rest.end.min(end);
        if from == 0 && to == end - begin {
            return Ok(Some(extent));
        }
        let (from, to) = (usize::try_from(from), usize::try_from(to));
        let (Ok(from), Ok(to)) = (from, to) else {
            return Err(StorageError::Corrupt);
        };
        let part = extent.get(from..to).ok_or(StorageError::Corrupt)?;
        Ok(Some(SecretBytes::new(part.to_vec())))
    }

    async fn extent(&self, ordinal: u32, len: u64) -> Result<SecretBytes, StorageError> {
        let key = layout::extent(&self.tag, self.version, ordinal);
        let sealed = match self.inner.objects.read(&key, longest_sealed(len)).await {
            // The manifest says that it exists.
            Err(StorageError::NotFound) => return Err(StorageError::Corrupt),
            other => other?,
        };
        let place = Place::extent(self.document, self.version, ordinal);
        let data_key = Arc::clone(&self.key);
        let open = move || Ok::<_, StorageError>(data_key.open(&place.cell()?, &sealed)?);
        let plain = if len >= HEAVY as u64 {
            task::blocking(open).await??
        } else {
            open()?
        };
        if plain.len() as u64 == len {
            Ok(plain)
        } else {
            Err(StorageError::Corrupt)
        }
    }
}

/// More than any sealing adds to `len` bytes: about 0.1 % and a head.
fn longest_sealed(len: u64) -> u64 {
    len + len / 64 + 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_end_and_refused_beyond_it() {
        assert_eq!(satisfiable(None, 10).unwrap(), 0..10);
        assert_eq!(satisfiable(Some(2..5), 10).unwrap(), 2..5);
        assert_eq!(satisfiable(Some(9..u64::MAX), 10).unwrap(), 9..10);
        for range in [10..11, 5..5, 11..u64::MAX] {
            let refused = satisfiable(Some(range), 10);
            assert!(matches!(
                refused,
                Err(StorageError::RangeNotSatisfiable { len: 10 })
            ));
        }
    }
}
