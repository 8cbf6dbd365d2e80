//! Giving up a log that does not verify: its bytes are kept as they are, and a successor begins.
//!
//! `sealing` holds the statement from before the first file is moved until the successor's first entry is
//! durable, and `sealed/<n>/statement` is there once all files are moved. So a call that was cut short at
//! any point is taken up by the next one, and nothing else opens the directory meanwhile.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use eonpro_core::event::Code;
use eonpro_core::id::ActorId;

use super::AuditParts;
use super::open_log::OpenLog;
use super::opening::{self, in_background, is_fresh};
use super::recovery::{clear, lock};
use crate::checkpoint::VerifyingKey;
use crate::config::AuditConfig;
use crate::error::AuditError;
use crate::events;
use crate::fault::{Fault, VerifyError};
use crate::layout::Layout;
use crate::sealed::{self, Statement};
use crate::spool;
use crate::verify::verify_until;
use crate::vfs;

/// The decision to give up a log that does not verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealOrder {
    /// Who decided.
    pub by: ActorId,
    /// Why, such as `disk_failure`. No PHI: it stands in clear.
    pub reason: Code,
}

/// What a successor says first.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) statement: Statement,
    pub(super) order: SealOrder,
}

/// Seals the log of `layout` and opens its successor.
pub(super) async fn seal_and_continue(
    layout: Layout,
    parts: AuditParts,
    config: AuditConfig,
    order: SealOrder,
) -> Result<Arc<OpenLog>, AuditError> {
    config.check()?;
    if config.witnesses.is_some() {
        // They remember the sealed log, whose name the successor has.
        return Err(AuditError::Config("a log is sealed without witnesses"));
    }
    let keys = opening::keys(&parts, &config);
    let (lock, statement) = in_background(&layout, move |layout| set_aside(&layout, &keys)).await?;
    let successor = Successor { statement, order };
    let log = opening::go_on(lock, layout.clone(), parts, config, Some(successor)).await?;
    in_background(&layout, |layout| {
        layout.vfs().remove(&layout.sealing())?;
        Ok(layout.sync_names()?)
    })
    .await?;
    Ok(log)
}

/// Moves the log's files out of the way. Blocks.
fn set_aside(layout: &Layout, keys: &[VerifyingKey]) -> Result<(File, Statement), AuditError> {
    if !layout.root().is_dir() {
        return Err(VerifyError::NoLog.into());
    }
    let lock = lock(layout)?;
    let statement = match Statement::pending(layout)? {
        Some(pending) => pending,
        None => begin(layout, keys)?,
    };
    if !statement.is_moved(layout) {
        move_files(layout, &statement)?;
    }
    layout.create()?;
    clear(layout)?;
    Ok((lock, statement))
}

fn begin(layout: &Layout, keys: &[VerifyingKey]) -> Result<Statement, AuditError> {
    layout.create()?;
    let verified = match verify_until(layout, keys, None, &[]) {
        // Opening recovers that, unless the spool is damaged.
        Err(VerifyError::Unfinished { .. }) => spool::read(layout).map(drop),
        other => other.map(drop),
    };
    let error = match verified {
        _ if matches!(is_fresh(layout), Ok(true)) => return Err(AuditError::Sound),
        Ok(()) => return Err(AuditError::Sound),
        // What was sealed before is no part of the log that would be sealed now.
        Err(VerifyError::Tampered {
            fault: Fault::Sealed,
            ..
        }) => return Err(AuditError::Sound),
        Err(error @ VerifyError::Tampered { .. }) => error,
        Err(other) => return Err(other.into()),
    };
    let statement = Statement::of(layout, keys, &error, events::kind_of(&error))?;
    layout.replace(&layout.sealing(), statement.text.as_bytes())?;
    Ok(statement)
}

fn move_files(layout: &Layout, statement: &Statement) -> Result<(), AuditError> {
    let to = layout.sealed(statement.number);
    layout.private_dir(&to)?;
    for name in sealed::moving(layout)? {
        let from = layout.root().join(&name);
        layout.vfs().rename(&from, &to.join(&name))?;
    }
    keep_spool(layout, &to)?;
    layout.vfs().sync_dir(&to)?;
    layout.vfs().sync_dir(layout.root())?;
    statement.note_moved(layout)?;
    Ok(())
}

/// The spool goes on with the successor. Where it is damaged, it is kept as it is beside the sealed log,
/// and what is intact in it goes on.
fn keep_spool(layout: &Layout, to: &Path) -> Result<(), AuditError> {
    if spool::read(layout).is_ok() {
        return Ok(());
    }
    let (whole, intact) = spool::salvage(layout)?;
    drop(vfs::place(layout.vfs(), &to.join("spool"), &whole)?);
    Ok(layout.replace(&layout.spool(), &intact)?)
}
