//! The cipher as records see it: fields sealed and opened under [`KeyPurpose::RECORDS`].

use eonpro_core::phi::{
    Cell, FieldOpener, FieldSealer, FieldSealing, IndexDef, IndexSlots, RecordHead, RecordOpener,
    RecordSealer, Row, Table,
};
use eonpro_core::port::{KeyPurpose, SealError};
use eonpro_core::secret::SecretBytes;

use crate::cipher::TenantCipher;
use crate::events::Refusal;
use crate::live::Reader;
use crate::streams::UsableRecord;
use crate::whole::WholeOpener;

const RECORDS: KeyPurpose = KeyPurpose::RECORDS;

impl FieldSealer for TenantCipher {
    fn seal(
        &mut self,
        sealing: FieldSealing,
        cell: &Cell<'_>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::new();
        self.seal_into(RECORDS, sealing, cell, plaintext, &mut out)?;
        Ok(out)
    }

    fn record(&mut self, table: Table, row: &Row<'_>) -> Result<Box<dyn RecordSealer>, SealError> {
        let keys = self.keys()?;
        let salt = self.salts.take()?;
        let sealer = keys.begin_record(RECORDS, table, row, salt, self.max_message)?;
        Ok(Box::new(sealer))
    }

    fn index(&mut self, index: &IndexDef, texts: &[&str]) -> Result<IndexSlots, SealError> {
        Self::index(self, index, texts)
    }
}

impl FieldOpener for TenantCipher {
    fn open(
        &mut self,
        sealing: FieldSealing,
        cell: &Cell<'_>,
        sealed: &[u8],
    ) -> Result<SecretBytes, SealError> {
        self.open_field(RECORDS, sealing, cell, sealed)
    }

    fn record<'a>(
        &'a mut self,
        table: Table,
        row: &'a Row<'a>,
        head: &'a RecordHead,
    ) -> Result<Box<dyn RecordOpener + 'a>, SealError> {
        let this: &'a Self = self;
        let keys = this.keys()?;
        let (key, state) = keys
            .resume_record(
                Reader::Anyone,
                RECORDS,
                table,
                row,
                head.as_bytes(),
                this.max_message,
            )
            .map_err(|cause| {
                let epoch = this.epoch_of(&keys, head.as_bytes());
                let refusal = Refusal::new(table, None, epoch, cause);
                this.alarms.raise(Some(this.cx.clone()), refusal);
                SealError::from(cause)
            })?;
        let opener = WholeOpener::new(key, move |column, cause| {
            let cell = Cell::new(table, column, *row);
            this.refuse(&keys, &cell, head.as_bytes(), cause)
        });
        let usable = move || {
            this.slot.usable()?;
            state.check()
        };
        Ok(Box::new(UsableRecord { opener, usable }))
    }
}
