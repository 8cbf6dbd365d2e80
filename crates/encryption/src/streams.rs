//! Streams and whole records under way: they stop when the key is destroyed or taken away that began them.

use std::fmt;
use std::sync::Arc;

use eonpro_core::phi::{Column, FieldSealing, RecordOpener};
use eonpro_core::port::SealError;
use eonpro_core::secret::SecretBytes;

use crate::cache::Slot;
use crate::cobblestone::{StreamOpener, StreamSealer};
use crate::key_states::SharedState;

/// Seals a value of a tenant piece by piece: made by
/// [`TenantCipher::seal_stream`](crate::TenantCipher::seal_stream).
///
/// Dropped without [`Self::finish`], it leaves a message that no reader accepts.
pub struct TenantStreamSealer {
    sealer: StreamSealer,
    slot: Arc<Slot>,
    key: Arc<SharedState>,
}

impl TenantStreamSealer {
    pub(crate) fn new(sealer: StreamSealer, slot: Arc<Slot>, key: Arc<SharedState>) -> Self {
        Self { sealer, slot, key }
    }

    /// Takes more plaintext and appends the chunks that are full to `out`.
    ///
    /// # Errors
    /// [`SealError::LimitExceeded`] beyond 4 PiB; [`SealError::Shredded`] once the tenant's keys are
    /// destroyed in this process, [`SealError::Disabled`] once the vault is closed or the key may no longer
    /// open.
    pub fn update(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        self.check()?;
        self.sealer.update(input, out)
    }

    /// Appends the last chunk to `out`, which ends the message.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), SealError> {
        self.check()?;
        self.sealer.finish(out)
    }

    fn check(&self) -> Result<(), SealError> {
        self.slot.usable()?;
        self.key.check()
    }
}

impl fmt::Debug for TenantStreamSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sealer.fmt(f)
    }
}

/// Opens a value of a tenant piece by piece: made by
/// [`TenantCipher::open_stream`](crate::TenantCipher::open_stream).
///
/// Each released chunk is authentic and in its place; that the message is whole is known only when
/// [`Self::finish`] succeeds. After an error every call fails. A stream may go on beyond the lease of
/// its cipher; no chunk is released once the tenant's keys are destroyed in this process, or are known
/// here to be, nor once its key is suspended or compromised.
pub struct TenantStreamOpener {
    opener: StreamOpener,
    slot: Arc<Slot>,
    key: Arc<SharedState>,
}

impl TenantStreamOpener {
    pub(crate) fn new(opener: StreamOpener, slot: Arc<Slot>, key: Arc<SharedState>) -> Self {
        Self { opener, slot, key }
    }

    /// Takes more of the message and appends the plaintext of complete chunks to `out`.
    ///
    /// # Errors
    /// [`SealError::Authentication`]; [`SealError::Shredded`] once the tenant's keys are destroyed,
    /// [`SealError::Disabled`] once the vault is closed or the key may no longer open. `out` then ends with
    /// the last chunk before.
    pub fn update(&mut self, mut input: &[u8], out: &mut SecretBytes) -> Result<(), SealError> {
        while !input.is_empty() {
            // Chunk by chunk: a shred need not wait for the end of a long piece.
            self.check()?;
            let room = self.opener.room();
            let (now, later) = input.split_at_checked(room).unwrap_or((input, &[]));
            self.opener.update(now, out)?;
            input = later;
        }
        Ok(())
    }

    /// Opens the last chunk into `out`; the message was whole.
    ///
    /// # Errors
    /// As [`Self::update`]; [`SealError::Authentication`] also if the message was cut.
    pub fn finish(self, out: &mut SecretBytes) -> Result<(), SealError> {
        self.check()?;
        self.opener.finish(out)
    }

    fn check(&self) -> Result<(), SealError> {
        self.slot.usable()?;
        self.key.check()
    }
}

impl fmt::Debug for TenantStreamOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.opener.fmt(f)
    }
}

/// A record being opened whose fields open as long as `usable` says so.
pub(crate) struct UsableRecord<O, U> {
    pub(crate) opener: O,
    pub(crate) usable: U,
}

impl<O, U> RecordOpener for UsableRecord<O, U>
where
    O: RecordOpener,
    U: Fn() -> Result<(), SealError>,
{
    fn open(
        &mut self,
        sealing: FieldSealing,
        column: Column,
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError> {
        (self.usable)()?;
        self.opener.open(sealing, column, sealed)
    }
}
