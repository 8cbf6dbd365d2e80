//! What one row needs: pure, so that it can be judged without a store.
//!
//! Nothing replaces a value before it was opened again and compared with what it replaces: a rotation
//! must never be the last that could read something.

use eonpro_core::phi::{Binding, Cell, Column, IndexDef, PhiValue, RecordSealer as _, Row, Suite};
use eonpro_core::port::{Replacement, RotationCell, RotationRow, RotationSource, SealError};
use eonpro_core::secret::SecretBytes;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::cobblestone::Cause;
use crate::envelope::Content;
use crate::error::CryptoError;
use crate::key_type::KeyType;
use crate::keyset::KeyState;
use crate::live::{LiveKey, LiveKeys, Reader};
use crate::padding;
use crate::random::fresh_salt;
use crate::whole::WholeOpener;

/// Reads the stored bytes of a value as the text that its index normalizes; `None` if they are not one.
pub type TextOf = fn(&[u8]) -> Option<Zeroizing<String>>;

/// The [`TextOf`] of a type: [`text_of::<String>`](text_of) for text.
#[must_use]
pub fn text_of<T: PhiValue>(bytes: &[u8]) -> Option<Zeroizing<String>> {
    let mut value = T::read(bytes).ok()?;
    let text = value
        .search_text()
        .map(|text| Zeroizing::new(text.to_string()));
    value.zeroize();
    text
}

/// A blind index and where its tokens are stored.
#[derive(Debug, Clone)]
pub struct IndexColumns {
    /// The index.
    pub index: IndexDef,
    /// The column of the tokens of odd versions.
    pub odd: Column,
    /// The column of the tokens of even versions.
    pub even: Column,
    /// How to read each part, in the order of the index's parts.
    pub texts: Vec<TextOf>,
}

impl IndexColumns {
    /// An index over text columns.
    #[must_use]
    pub fn of_text(index: &IndexDef, odd: Column, even: Column) -> Self {
        Self {
            index: *index,
            odd,
            even,
            texts: vec![text_of::<String> as TextOf; index.parts.len()],
        }
    }

    /// The column of the tokens of `version`.
    #[must_use]
    pub fn slot(&self, version: u8) -> Column {
        if version.is_multiple_of(2) {
            self.even
        } else {
            self.odd
        }
    }
}

/// What became of one row.
#[derive(Debug, Default)]
pub(super) struct RowWork {
    pub(super) changes: Vec<Replacement>,
    /// The columns that do not open, and why.
    pub(super) unopened: Vec<(Column, Cause)>,
}

/// The rows of one source, under one scope's keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bench<'a> {
    pub(super) keys: &'a LiveKeys,
    pub(super) source: &'a dyn RotationSource,
}

impl Bench<'_> {
    /// Seals anew what an earlier epoch of the suite sealed.
    pub(super) fn reseal(&self, row: &RotationRow, suite: Suite) -> Result<RowWork, CryptoError> {
        match self.source.head() {
            Some(head) => self.reseal_whole(row, head),
            None => self.reseal_fields(row, suite),
        }
    }

    fn reseal_fields(&self, row: &RotationRow, suite: Suite) -> Result<RowWork, CryptoError> {
        let mut work = RowWork::default();
        for cell in &row.cells {
            let Some(sealed) = &cell.bytes else {
                continue;
            };
            let named = self.named(sealed);
            let other_suite = named.is_some_and(|key| key.key.suite() != suite);
            if other_suite || self.is_current(sealed) {
                continue;
            }
            let plain = match self.open_field(row, cell.column, sealed) {
                Ok(plain) => plain,
                Err(cause) => {
                    work.unopened.push((cell.column, cause));
                    continue;
                }
            };
            let new = self.seal_field(row, cell.column, suite, &plain)?;
            let change = Replacement::of(row.row.clone(), cell.column, sealed.clone(), new);
            work.changes.push(change);
        }
        Ok(work)
    }

    /// A record that is one message is sealed anew as one, under a head of its own.
    fn reseal_whole(&self, row: &RotationRow, head: Column) -> Result<RowWork, CryptoError> {
        let mut work = RowWork::default();
        let Some(old) = bytes_of(&row.cells, head)? else {
            return Ok(work);
        };
        if self.is_current(old) {
            return Ok(work);
        }
        let Some(named) = Row::named(&row.row) else {
            return Err(CryptoError::Record("row without a name"));
        };
        let (table, purpose) = (self.source.table(), self.source.purpose());
        let mut record =
            self.keys
                .begin_record(purpose, table, &named, fresh_salt()?, usize::MAX)?;
        let mut fresh = row.clone();
        for cell in &mut fresh.cells {
            let (column, Some(sealed)) = (cell.column, &cell.bytes) else {
                continue;
            };
            if column == head {
                cell.bytes = Some(record.head().into_bytes());
                continue;
            }
            match self.open_part(row, head, column, sealed) {
                Ok(plain) => {
                    let sealed = record.seal(self.source.sealing(column), column, &plain)?;
                    cell.bytes = Some(sealed);
                }
                Err(cause) => work.unopened.push((column, cause)),
            }
        }
        if !work.unopened.is_empty() {
            return Ok(work);
        }
        for (was, is) in row.cells.iter().zip(&fresh.cells) {
            let (Some(was), Some(is_sealed)) = (&was.bytes, &is.bytes) else {
                continue;
            };
            if is.column == head {
                continue;
            }
            let before = self.open_part(row, head, is.column, was)?;
            let after = self.open_part(&fresh, head, is.column, is_sealed);
            if !after.is_ok_and(|after| bool::from(after.ct_eq(&before))) {
                return Err(CryptoError::Unverified);
            }
        }
        work.changes.push(Replacement {
            row: row.row.clone(),
            expect: row.cells.clone(),
            set: fresh.cells,
        });
        Ok(work)
    }

    /// Gives the row its token of `version`, if it has none of that version.
    pub(super) fn fill(
        &self,
        row: &RotationRow,
        columns: &IndexColumns,
        version: u8,
    ) -> Result<RowWork, CryptoError> {
        let mut work = RowWork::default();
        let slot = columns.slot(version);
        let held = bytes_of(&row.slots, slot)?;
        if held.is_some_and(|token| token.first() == Some(&version)) {
            return Ok(work);
        }
        let mut expect = vec![cell(slot, held.map(<[u8]>::to_vec))];
        let mut texts = Vec::with_capacity(columns.texts.len());
        for (part, text_of) in columns.index.parts.iter().zip(&columns.texts) {
            let sealed = bytes_of(&row.cells, part.column)?;
            expect.push(cell(part.column, sealed.map(<[u8]>::to_vec)));
            let Some(sealed) = sealed else {
                // An absent part has no token.
                return Ok(work);
            };
            let text = match self.open(row, part.column, sealed) {
                Ok(plain) => text_of(&plain).ok_or(Cause::Tag),
                Err(cause) => Err(cause),
            };
            match text {
                Ok(text) => texts.push(text),
                Err(cause) => work.unopened.push((part.column, cause)),
            }
        }
        if !work.unopened.is_empty() {
            return Ok(work);
        }
        let texts: Vec<&str> = texts.iter().map(|text| text.as_str()).collect();
        let slots = match self.keys.index(&columns.index, &texts) {
            Ok(slots) => slots,
            // The row is told, the others go on.
            Err(SealError::Unindexable { .. } | SealError::LimitExceeded) => {
                let first = columns.index.parts.first().map(|part| part.column);
                work.unopened
                    .extend(first.map(|column| (column, Cause::Unindexable)));
                return Ok(work);
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(token) = slots.version(version) {
            work.changes.push(Replacement {
                row: row.row.clone(),
                expect,
                set: vec![cell(slot, Some(token.as_bytes().to_vec()))],
            });
        }
        Ok(work)
    }

    fn is_current(&self, sealed: &[u8]) -> bool {
        self.named(sealed).is_some_and(|key| {
            key.state() == KeyState::Primary && *key.purpose == *self.source.purpose().as_str()
        })
    }

    /// The key that sealed it.
    fn named(&self, sealed: &[u8]) -> Option<&LiveKey> {
        crate::envelope::split(sealed).and_then(|(id, _)| self.keys.key(id))
    }

    /// The value of a cell.
    fn open(&self, row: &RotationRow, column: Column, sealed: &[u8]) -> Result<SecretBytes, Cause> {
        if let Some(head) = self.source.head() {
            return self.open_part(row, head, column, sealed);
        }
        let mut plain = self.open_field(row, column, sealed)?;
        if self.source.sealing(column).pad != 0 && !padding::unpad(&mut plain) {
            return Err(Cause::Tag);
        }
        Ok(plain)
    }

    /// A field of a record that is sealed as a whole.
    fn open_part(
        &self,
        row: &RotationRow,
        head: Column,
        column: Column,
        sealed: &[u8],
    ) -> Result<SecretBytes, Cause> {
        let named = Row::named(&row.row).ok_or(Cause::Context)?;
        let found = row.cells.iter().find(|cell| cell.column == head);
        let head = found.and_then(|cell| cell.bytes.as_deref());
        let (table, purpose) = (self.source.table(), self.source.purpose());
        let (key, _) = self.keys.resume_record(
            Reader::Rotation,
            purpose,
            table,
            &named,
            head.ok_or(Cause::Context)?,
            usize::MAX,
        )?;
        WholeOpener::new(key, |_, cause| SealError::from(cause)).open_field(
            self.source.sealing(column),
            column,
            sealed,
        )
    }

    /// A field of its own, with its padding if it has any.
    fn open_field(
        &self,
        row: &RotationRow,
        column: Column,
        sealed: &[u8],
    ) -> Result<SecretBytes, Cause> {
        let cell = self.cell(row, column).ok_or(Cause::Context)?;
        let (content, purpose) = (self.content(column), self.source.purpose());
        self.keys
            .open_as(Reader::Rotation, content, purpose, &cell, sealed)
    }

    fn seal_field(
        &self,
        row: &RotationRow,
        column: Column,
        suite: Suite,
        plain: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let cell = self.cell(row, column);
        let cell = cell.ok_or(CryptoError::Record("row without a name"))?;
        let of = KeyType {
            purpose: self.source.purpose(),
            suite,
        };
        let content = self.content(column);
        let mut new = Vec::new();
        self.keys
            .seal(content, of, &cell, fresh_salt, plain, &mut new)?;
        let back = self.open_field(row, column, &new);
        let same = back.is_ok_and(|back| bool::from(back.ct_eq(plain)));
        if same {
            Ok(new)
        } else {
            Err(CryptoError::Unverified)
        }
    }

    fn content(&self, column: Column) -> Content {
        match self.source.sealing(column).pad {
            0 => Content::Value,
            _ => Content::Padded,
        }
    }

    /// The cell for which the value was sealed.
    fn cell<'r>(&self, row: &'r RotationRow, column: Column) -> Option<Cell<'r>> {
        let named = match self.source.sealing(column).bind {
            Binding::Row => Row::named(&row.row)?,
            Binding::Column => Row::ANY,
        };
        Some(Cell::new(self.source.table(), column, named))
    }
}

/// Takes the row's token of `version` away.
pub(super) fn empty(
    row: &RotationRow,
    columns: &IndexColumns,
    version: u8,
) -> Result<RowWork, CryptoError> {
    let mut work = RowWork::default();
    let slot = columns.slot(version);
    if let Some(token) = bytes_of(&row.slots, slot)? {
        work.changes.push(Replacement {
            row: row.row.clone(),
            expect: vec![cell(slot, Some(token.to_vec()))],
            set: vec![cell(slot, None)],
        });
    }
    Ok(work)
}

fn cell(column: Column, bytes: Option<Vec<u8>>) -> RotationCell {
    RotationCell { column, bytes }
}

fn bytes_of(cells: &[RotationCell], column: Column) -> Result<Option<&[u8]>, CryptoError> {
    let found = cells.iter().find(|cell| cell.column == column);
    let found = found.ok_or(CryptoError::Config(
        "a source that has the columns of the index",
    ))?;
    Ok(found.bytes.as_deref())
}
