//! From a directory to an open log: recover it, start the writer, record the beginning.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use eonpro_core::port::Signer;
use eonpro_core::task;
use tokio::sync::mpsc;

use super::AuditParts;
use super::alerts::{self, Notice};
use super::conflict;
use super::cosigning::{self, Cosigning};
use super::head_store::{self, HeadStore};
use super::heads::Heads;
use super::lookup::Lookup;
use super::open_log::{Ending, OpenLog};
use super::pruning::Retention;
use super::queue::{Job, Queue};
use super::recent::Recent;
use super::recovery::{Recovered, prepare, recover};
use super::sealing::Successor;
use super::signing::{Signing, empty_directory, name_keys};
use super::writer::Writer;
use crate::checkpoint::VerifyingKey;
use crate::config::AuditConfig;
use crate::entry::LeafBuilder;
use crate::error::AuditError;
use crate::head::HeadConflict;
use crate::layout::Layout;
use crate::segment::Tail;
use crate::subjects::SubjectVault;

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
    if let Some(successor) = &successor {
        head_store::set_aside(&*parts.state, &successor.statement.digest()).await?;
    }
    let judged = judge_and_ask(&layout, &parts, &config).await;
    let (mut recovered, store, cosigning) = conflict::alerted(judged, &parts).await?;
    let (notices, noticed) = mpsc::channel(config.alert_queue);
    let writer = writer(&layout, (&parts, &config), &mut recovered, &notices, lock)?;
    let (jobs, writer) = start(writer)?;
    let (walk, index, signed) = (recovered.walk, recovered.index, recovered.signed);
    let heads = Arc::new(Heads::new(&signed, recovered.trail.keys()));
    let signing = Signing {
        layout: layout.clone(),
        signer: parts.signer,
        keys: recovered.trail.keys().to_vec(),
        batch_entries: config.batch_entries,
        sizes: signed.sizes(),
        heads: Arc::clone(&heads),
        walk: Some(walk),
        store,
        head: recovered.head,
        cosigning,
        halted: None,
    };
    let retention = Retention::new(Arc::clone(&parts.state), Arc::clone(&parts.sealer));
    let subjects = SubjectVault::new(
        parts.sealer,
        parts.authority,
        parts.state,
        Arc::clone(&parts.clock),
        &config,
    );
    let log = Arc::new_cyclic(|weak| OpenLog {
        queue: Queue::new(jobs, &config, Arc::clone(&parts.clock)),
        lookup: Lookup::new(layout.clone()),
        heads,
        config,
        layout,
        clock: parts.clock,
        entropy: parts.entropy,
        builder: LeafBuilder { subjects },
        observer: parts.observer,
        index,
        signing: tokio::sync::Mutex::new(signing),
        spool: Mutex::new(None),
        retention,
        closed: AtomicBool::new(false),
        down: AtomicBool::new(false),
        corrupt: AtomicBool::new(false),
        halted: OnceLock::new(),
        forked: AtomicBool::new(false),
        short: AtomicBool::new(false),
        overdue: AtomicBool::new(false),
        since_checkpoint: AtomicU64::new(0),
        checkpointing: AtomicBool::new(false),
        notices,
        ending: Ending::of(writer, alerts::start(weak.clone(), parts.alerts, noticed)),
    });
    cosigning::keep_asking(&log);
    if let Some(successor) = successor {
        log.succeed(successor).await?;
    }
    log.begin(recovered.spooled, recovered.dropped).await?;
    Ok(log)
}

/// The writer that goes on where the log ends.
fn writer(
    layout: &Layout,
    (parts, config): (&AuditParts, &AuditConfig),
    recovered: &mut Recovered,
    alerts: &mpsc::Sender<Notice>,
    lock: File,
) -> Result<Writer, AuditError> {
    let walk = &recovered.walk;
    let file = layout.vfs().open(&layout.segment(walk.segment))?;
    Ok(Writer {
        layout: layout.clone(),
        config: config.clone(),
        clock: Arc::clone(&parts.clock),
        index: Arc::clone(&recovered.index),
        alerts: alerts.clone(),
        replay: walk.replay.clone(),
        recent: std::mem::replace(&mut recovered.recent, Recent::new(0)),
        header: layout.header(walk.segment)?,
        offset: walk.end.offset,
        filled: usize::try_from(file.length()?).unwrap_or(usize::MAX),
        file,
        batch: walk.end.batch,
        chain: walk.end.chain,
        must_roll: false,
        tail: Tail::Zeros,
        down: false,
        _lock: lock,
    })
}

pub(super) fn keys(parts: &AuditParts, config: &AuditConfig) -> Vec<VerifyingKey> {
    let mut keys = config.previous_keys.clone();
    keys.push(parts.verifying_key());
    keys
}

/// Starts the thread that writes.
fn start(writer: Writer) -> io::Result<(Sender<Job>, JoinHandle<()>)> {
    let (jobs, todo) = crossbeam_channel::unbounded();
    let writer = std::thread::Builder::new()
        .name("eonpro-audit".to_owned())
        .spawn(move || writer.run(&todo))?;
    Ok((jobs, writer))
}

/// Judges the directory, then asks the witnesses about its head, before anything is built on it.
async fn judge_and_ask(
    layout: &Layout,
    parts: &AuditParts,
    config: &AuditConfig,
) -> Result<(Recovered, HeadStore, Cosigning), AuditError> {
    let (recovered, store) = judge(layout, parts, &keys(parts, config), config).await?;
    let mut cosigning = Cosigning::new(config.witnesses.clone(), Arc::clone(&parts.clock));
    let (head, index) = (&recovered.head, &recovered.index);
    cosigning.round(head, layout, index).await?;
    Ok((recovered, store, cosigning))
}

/// Recovers the directory and compares it with the head that was kept of it. A directory that does not
/// fit is refused before anything in it is changed.
async fn judge(
    layout: &Layout,
    parts: &AuditParts,
    keys: &[VerifyingKey],
    config: &AuditConfig,
) -> Result<(Recovered, HeadStore), AuditError> {
    let kept = head_store::load(&*parts.state).await?;
    if let Some(kept) = &kept
        && in_background(layout, |layout| is_fresh(&layout)).await?
    {
        let conflict = HeadConflict::with_store(&kept.head, &empty_directory());
        return Err(AuditError::RolledBack(conflict));
    }
    sign_first_head(layout, &*parts.signer, keys).await?;
    let (known, settings, before) = (keys.to_vec(), config.clone(), kept.clone());
    let recover = move |layout| recover(&layout, &known, &settings, before.as_ref());
    let mut recovered = in_background(layout, recover).await?;
    if !recovered.trail.present().contains(&parts.verifying_key()) {
        return Err(AuditError::Config("the signer's key has handed over"));
    }
    let mut heads = HeadStore::new(Arc::clone(&parts.state), kept.as_ref());
    let kept_size = kept.as_ref().map_or(0, |kept| kept.head.size);
    if let Some(kept) = kept
        && kept.head.size > recovered.head.size
    {
        // A crash came between the store and the file.
        recovered.head = kept.head;
        let write = move |layout: Layout| {
            let path = layout.checkpoint();
            Ok(layout.replace(&path, kept.note.as_bytes())?)
        };
        in_background(layout, write).await?;
    } else if recovered.head.size > kept_size {
        tracing::warn!(
            kept = kept_size,
            size = recovered.head.size,
            "the store has no head, or an older one, of the audit log: the directory's is taken over"
        );
        let note = in_background(layout, |layout| Ok(layout.read_checkpoint()?)).await?;
        heads
            .swap(&recovered.head, &note.unwrap_or_default())
            .await?;
    }
    let keys = recovered.trail.keys().to_vec();
    in_background(layout, move |layout| name_keys(&layout, &keys)).await?;
    Ok((recovered, heads))
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
    let named = keys.to_vec();
    in_background(layout, move |layout| name_keys(&layout, &named)).await?;
    let note = empty_directory().sign(signer).await?;
    let write = move |layout: Layout| {
        let path = layout.checkpoint();
        Ok(layout.replace(&path, note.as_bytes())?)
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
