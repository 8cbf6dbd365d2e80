//! From a directory to an open log: recover it, start the writer, record the beginning.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use eonpro_core::port::Signer;
use eonpro_core::task;
use tokio::sync::mpsc;

use super::AuditParts;
use super::alerts;
use super::open_log::{Ending, OpenLog};
use super::queue::{Job, Queue};
use super::recovery::{Recovered, prepare, recover};
use super::sealing::Successor;
use super::signing::{Signing, empty_directory};
use super::writer::Writer;
use crate::checkpoint::VerifyingKey;
use crate::config::AuditConfig;
use crate::entry::LeafBuilder;
use crate::error::AuditError;
use crate::layout::Layout;
use crate::log_id::LogId;
use crate::segment::{Header, Tail};
use crate::vfs::VfsFile;

/// Opens the log of `layout`.
pub(super) async fn open(
    layout: Layout,
    parts: AuditParts,
    config: AuditConfig,
) -> Result<Arc<OpenLog>, AuditError> {
    config.check()?;
    let lock = in_background(&layout, |layout| prepare(&layout)).await?;
    go_on(lock, layout, parts, config, None).await
}

/// Opens the locked directory, as a successor if it is one.
pub(super) async fn go_on(
    lock: File,
    layout: Layout,
    parts: AuditParts,
    config: AuditConfig,
    successor: Option<Successor>,
) -> Result<Arc<OpenLog>, AuditError> {
    let keys = keys(&parts, &config);
    sign_first_head(&layout, &*parts.signer, &keys).await?;
    let Recovered {
        walk,
        signed,
        index,
        recent,
        dropped,
        spooled,
    } = recovered(&layout, &keys, &config).await?;
    let (header, file, filled) = last_segment(&layout, walk.segment)?;
    let (notices, noticed) = mpsc::channel(config.alert_queue);
    let writer = Writer {
        layout: layout.clone(),
        file,
        config: config.clone(),
        clock: Arc::clone(&parts.clock),
        index: Arc::clone(&index),
        alerts: notices.clone(),
        replay: walk.replay.clone(),
        recent,
        header,
        offset: walk.end.offset,
        filled,
        batch: walk.end.batch,
        chain: walk.end.chain,
        must_roll: false,
        tail: Tail::Zeros,
        down: false,
        _lock: lock,
    };
    let (jobs, todo) = crossbeam_channel::unbounded();
    let writer = start(writer, todo)?;
    let signing = Signing {
        layout: layout.clone(),
        signer: parts.signer,
        keys,
        batch_entries: config.batch_entries,
        sizes: signed.sizes(),
        walk: Some(walk),
    };
    let log = Arc::new_cyclic(|weak| OpenLog {
        queue: Queue::new(jobs, &config, Arc::clone(&parts.clock)),
        config,
        layout,
        clock: parts.clock,
        entropy: parts.entropy,
        builder: LeafBuilder {
            sealer: parts.sealer,
            authority: parts.authority,
        },
        observer: parts.observer,
        index,
        signing: tokio::sync::Mutex::new(signing),
        spool: Mutex::new(None),
        closed: AtomicBool::new(false),
        down: AtomicBool::new(false),
        corrupt: AtomicBool::new(false),
        since_checkpoint: AtomicU64::new(0),
        checkpointing: AtomicBool::new(false),
        notices,
        ending: Mutex::new(Some(Ending {
            writer,
            alerts: alerts::start(weak.clone(), parts.alerts, noticed),
        })),
    });
    if let Some(successor) = successor {
        log.succeed(successor).await?;
    }
    log.begin(spooled, dropped).await?;
    Ok(log)
}

fn start(writer: Writer, todo: Receiver<Job>) -> io::Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name("eonpro-audit".to_owned());
    thread.spawn(move || writer.run(&todo))
}

/// The last segment, open for writing, with its header and how far it is filled.
fn last_segment(
    layout: &Layout,
    number: u64,
) -> Result<(Header, Box<dyn VfsFile>, usize), AuditError> {
    let header = layout.header(number)?;
    let file = layout.vfs().open(&layout.segment(number))?;
    let filled = usize::try_from(file.length()?).unwrap_or(usize::MAX);
    Ok((header, file, filled))
}

pub(super) fn keys(parts: &AuditParts, config: &AuditConfig) -> Vec<VerifyingKey> {
    let mut keys = config.previous_keys.clone();
    keys.push(parts.verifying_key());
    keys
}

async fn recovered(
    layout: &Layout,
    keys: &[VerifyingKey],
    config: &AuditConfig,
) -> Result<Recovered, AuditError> {
    let (known, config) = (keys.to_vec(), config.clone());
    let recovered = in_background(layout, move |layout| recover(&layout, &known, &config)).await?;
    name_keys(layout, keys).await?;
    Ok(recovered)
}

/// Where there has never been a log, signs the head of an empty directory log.
async fn sign_first_head(
    layout: &Layout,
    signer: &dyn Signer,
    keys: &[VerifyingKey],
) -> Result<(), AuditError> {
    if !in_background(layout, |layout| is_fresh(&layout)).await? {
        return Ok(());
    }
    name_keys(layout, keys).await?;
    let note = empty_directory().sign(signer).await?;
    let write = move |layout: Layout| {
        let path = layout.checkpoint();
        Ok(layout.replace(&path, note.as_bytes())?)
    };
    in_background(layout, write).await
}

/// Writes down whose signatures the log carries, for verifiers that were given no key.
async fn name_keys(layout: &Layout, keys: &[VerifyingKey]) -> Result<(), AuditError> {
    let lines = keys.iter().map(|key| key.vkey(&LogId::Directory) + "\n");
    let text: String = lines.collect();
    let write = move |layout: Layout| {
        // Nothing on disk is changed that is as it should be.
        if layout.read_keys().ok().flatten().as_ref() == Some(&text) {
            return Ok(());
        }
        Ok(layout.replace(&layout.keys(), text.as_bytes())?)
    };
    in_background(layout, write).await
}

/// Whether there has never been a log.
pub(super) fn is_fresh(layout: &Layout) -> Result<bool, AuditError> {
    Ok(layout.segments()? == 0 && layout.read_checkpoint()?.is_none())
}

pub(super) async fn in_background<T, F>(layout: &Layout, work: F) -> Result<T, AuditError>
where
    T: Send + 'static,
    F: FnOnce(Layout) -> Result<T, AuditError> + Send + 'static,
{
    let layout = layout.clone();
    let done = task::blocking(move || work(layout)).await;
    done.map_err(|_| AuditError::WorkerLost)?
}
