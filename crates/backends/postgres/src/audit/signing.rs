//! Checkpoints, and the verification of what is in the database.
//!
//! A root is signed only after it was recomputed from the bytes that the database holds, under every head
//! that was signed before: a row that was changed is found here, and never signed.

use std::collections::HashMap;
use std::sync::Arc;

use eonpro_audit::sequence::{Verification, empty_directory};
use eonpro_audit::{
    AuditError, Checkpoint, DirectoryHead, Fault, LogId, Report, VerifyError, VerifyingKey,
};
use eonpro_core::port::Signer;

use super::database::{Head, PAGE, Statements, tampered};
use crate::error::PgError;
use crate::pool::Connections;

/// How often another process may have signed in between.
const ATTEMPTS: usize = 16;

/// Reading for signing and verifying.
#[derive(Debug, Clone, Copy)]
pub(super) struct Database<'a> {
    pub(super) statements: &'a Statements,
    pub(super) connections: &'a Connections,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Signing {
    pub(super) signer: Arc<dyn Signer>,
    pub(super) keys: Vec<VerifyingKey>,
    /// What this process has read back so far; `None` before the first time and after a failure.
    pub(super) read: Option<Verification>,
}

pub(super) fn failed(error: PgError) -> AuditError {
    AuditError::Backend(error.into())
}

impl Signing {
    /// Where there has never been a log, signs the head of an empty directory log.
    pub(super) async fn begin(&self, database: Database<'_>) -> Result<(), AuditError> {
        // In this order: the first head is signed before there is any log.
        let heads = database.statements.all_heads(database.connections).await;
        let is_new = heads.map_err(failed)?.is_empty();
        match database.note(LogId::Directory).await? {
            Some(_) => Ok(()),
            // Taking it away is no way to make signed entries unsigned.
            None if !is_new => Err(missing(LogId::Directory, 0).into()),
            None => {
                let note = empty_directory().sign(&*self.signer).await?;
                database.sign_head(0, &note).await
            }
        }
    }

    /// Signs what grew and tells the directory's head.
    pub(super) async fn checkpoint(
        &mut self,
        database: Database<'_>,
    ) -> Result<DirectoryHead, AuditError> {
        for _ in 0..ATTEMPTS {
            if let Some(head) = self.try_checkpoint(database).await? {
                return Ok(head);
            }
        }
        Err(failed(PgError::Busy))
    }

    /// `None` if another process signed in between.
    async fn try_checkpoint(
        &mut self,
        database: Database<'_>,
    ) -> Result<Option<DirectoryHead>, AuditError> {
        let fresh = || Verification::new(self.keys.clone());
        // If anything fails, or the future is dropped, the next call reads from the beginning.
        let mut read = self.read.take().unwrap_or_else(fresh);
        let heads = database.read_on(&mut read).await?;
        let signed = database.signed().await?;
        let size = |log: LogId| signed.get(&log).copied().unwrap_or(0);
        let grown: Vec<Checkpoint> = heads
            .iter()
            .filter(|head| head.log != LogId::Directory && head.size > size(head.log))
            .map(|head| read.chain(head.log).head())
            .collect();
        for part in grown.chunks(PAGE) {
            let mut chain = read.chain(LogId::Directory);
            let before = chain.head().size;
            let mut notes = Vec::with_capacity(part.len());
            for head in part {
                let note = head.sign(&*self.signer).await?;
                let leaf = chain.append_note(note.clone()).leaf;
                notes.push((head.log, head.size, note, leaf));
            }
            if !database.sign(before, &chain.state(), &notes).await? {
                self.read = Some(read);
                return Ok(None);
            }
            database
                .read_directory(&mut read, chain.head().size)
                .await?;
        }
        let directory = read.chain(LogId::Directory).head();
        if directory.size > size(LogId::Directory) {
            let note = directory.sign(&*self.signer).await?;
            database.sign_head(directory.size, &note).await?;
        }
        let ordinary = heads.iter().filter(|head| head.log != LogId::Directory);
        let head = DirectoryHead {
            root: directory.root,
            size: directory.size,
            logs: ordinary.clone().count() as u64,
            entries: ordinary.map(|head| head.size).sum(),
        };
        self.read = Some(read);
        Ok(Some(head))
    }

    /// Recomputes everything from the first entry on, whatever was read before.
    pub(super) async fn verify(&mut self, database: Database<'_>) -> Result<Report, AuditError> {
        let signed = match self.checkpoint(database).await {
            // Found where the logs went on; the first bad entry may lie before.
            Err(error @ AuditError::Corrupt(_)) => Err(error),
            other => other.map(Ok)?,
        };
        let mut read = Verification::new(self.keys.clone());
        let heads = database.read_on(&mut read).await?;
        let there = |log: LogId| heads.iter().any(|head| head.log == log);
        if let Some(stray) = database.stray().await? {
            let log = LogId::parse(&stray).unwrap_or(LogId::Directory);
            // Unless it was begun in between.
            if !there(log) && database.is_headless(log).await? {
                return Err(tampered(log, 0, Fault::Declaration).into());
            }
        }
        signed?;
        Ok(read.finish()?)
    }
}

impl Database<'_> {
    /// Reads what the logs have gained, and compares it with their heads; tells these.
    async fn read_on(&self, read: &mut Verification) -> Result<Vec<Head>, AuditError> {
        // The heads first: what they cover is there, and what comes later is none of ours.
        let note = self.note(LogId::Directory).await?;
        let signed = self.signed().await?;
        let heads = self.statements.all_heads(self.connections).await;
        let heads = heads.map_err(failed)?;
        read.take_head(note.as_deref())?;
        let directory = heads.iter().find(|head| head.log == LogId::Directory);
        self.read_directory(read, directory.map_or(0, |head| head.size))
            .await?;
        for head in &heads {
            if head.log != LogId::Directory {
                self.read_log(read, head.log, head.size).await?;
            }
            let chain = read.chain(head.log);
            if head.exceeded {
                return Err(tampered(head.log, head.size, Fault::Gap).into());
            }
            if chain.state() != head.chain()?.state() {
                return Err(head.bad(Fault::Root).into());
            }
        }
        // A log that was signed has a head, and the table says no more than the directory does.
        let there = |log: &LogId| read.chain(*log).head().size;
        for (log, size) in signed {
            if there(&log) < size {
                return Err(tampered(log, there(&log), Fault::Missing).into());
            }
        }
        // What was read once is there still.
        let known = read.finish()?.heads.into_iter().map(|head| head.log);
        for log in known.chain([LogId::Directory]) {
            if there(&log) > 0 && !heads.iter().any(|head| head.log == log) {
                return Err(tampered(log, 0, Fault::Missing).into());
            }
        }
        Ok(heads)
    }

    async fn read_directory(&self, read: &mut Verification, until: u64) -> Result<(), AuditError> {
        loop {
            let from = read.chain(LogId::Directory).head().size;
            if from >= until {
                return Ok(());
            }
            let page = self.page(LogId::Directory, from, until).await?;
            for (index, entry) in (from..).zip(page) {
                let taken = read.take_note(&entry.bytes)?;
                if !entry.agrees(&taken) {
                    return Err(tampered(LogId::Directory, index, Fault::Leaf).into());
                }
            }
        }
    }

    async fn read_log(
        &self,
        read: &mut Verification,
        log: LogId,
        until: u64,
    ) -> Result<(), AuditError> {
        loop {
            let from = read.chain(log).head().size;
            if from >= until {
                return Ok(());
            }
            let page = self.page(log, from, until).await?;
            for (index, entry) in (from..).zip(page) {
                // Before the chain is looked at, or its successor would be named.
                if !entry.is_whole() {
                    return Err(tampered(log, index, Fault::Leaf).into());
                }
                let taken = read.take(log, &entry.bytes)?;
                if !entry.agrees(&taken) {
                    return Err(tampered(log, index, Fault::Leaf).into());
                }
            }
        }
    }

    /// The entries from `from` on, at least one, without gaps.
    async fn page(
        &self,
        log: LogId,
        from: u64,
        until: u64,
    ) -> Result<Vec<super::database::Entry>, AuditError> {
        let page = self
            .statements
            .entries(self.connections, log, from, until, PAGE);
        let page = page.await.map_err(failed)?;
        let gap = (from..)
            .zip(&page)
            .find(|(index, entry)| *index != entry.index);
        match gap {
            Some((index, _)) => Err(tampered(log, index, Fault::Gap).into()),
            None if page.is_empty() => Err(missing(log, from).into()),
            None => Ok(page),
        }
    }

    pub(super) async fn note(&self, log: LogId) -> Result<Option<String>, AuditError> {
        let note = self.statements.note(self.connections, log).await;
        note.map_err(failed)
    }

    async fn signed(&self) -> Result<HashMap<LogId, u64>, AuditError> {
        self.statements
            .signed(self.connections)
            .await
            .map_err(failed)
    }

    async fn stray(&self) -> Result<Option<String>, AuditError> {
        self.statements
            .stray(self.connections)
            .await
            .map_err(failed)
    }

    async fn is_headless(&self, log: LogId) -> Result<bool, AuditError> {
        let heads = self.statements.heads(self.connections, &[log]).await;
        Ok(heads.map_err(failed)?.is_empty())
    }

    async fn sign(
        &self,
        before: u64,
        state: &[u8],
        notes: &[(LogId, u64, String, eonpro_core::event::Digest)],
    ) -> Result<bool, AuditError> {
        let signed = self
            .statements
            .sign(self.connections, before, state, notes)
            .await;
        match signed {
            // Another process signed one of the logs since they were read.
            Err(PgError::Refused(code)) if code == "40001" => Ok(false),
            other => other.map_err(failed),
        }
    }

    async fn sign_head(&self, size: u64, note: &str) -> Result<(), AuditError> {
        let kept = self
            .statements
            .sign_head(self.connections, size, note)
            .await;
        kept.map_err(failed)
    }
}

fn missing(log: LogId, index: u64) -> VerifyError {
    tampered(log, index, Fault::Missing)
}
