//! `#[derive(PhiRecord)]`: says once what is PHI, and gets sealing, search and schema for it.
//!
//! For a record `Patient` the derive writes
//!
//! - the twin `SealedPatient`, with the record's visibility: the row and the plain fields as they
//!   are, `Sealed<T>` or `Option<Sealed<T>>` for each sealed field, and `IndexSlots` for each index:
//!   `ssn_index`, or `ssn_<name>_index` if the field has several, and `<name>_index` for a compound;
//! - `impl PhiRecord for Patient`, with the schema that the logger and the data map read;
//! - one constant per index, to query by: `Patient::SSN_INDEX`, or `Patient::SSN_<NAME>_INDEX`, and
//!   `Patient::<NAME>_INDEX` for a compound.
//!
//! # On the record
//! `#[phi(table = "patients")]` names the table. `#[phi(crate = "eonpro::core")]` says where
//! `eonpro-core` is, if not at `::eonpro_core`. `#[phi(mode = "whole")]` seals the record as one
//! message: cheaper and shorter, but its fields are written together. The twin then has one field more,
//! `phi_head`, to be stored beside the others.
//!
//! `#[phi(index(name = "name_born", fields(family: "folded", born: "year"), bits = 32, version = 1))]`
//! makes a compound index over 2 to 8 sealed fields, each with its rule; repeatable. Bits are 64 and
//! the version 1 if not said. Its slots are empty unless all fields have a value.
//!
//! # On the fields
//! - `#[phi(row)]`: the row's id, of type `RowId`. Exactly one.
//! - `#[phi(seal)]`: PHI, of type `Phi<T>` or `Option<Phi<T>>`, where `T` is `String`, `Vec<u8>`, `i64`,
//!   `bool` or any other `PhiValue`. `column = "name"` names another
//!   column than the field.
//! - `#[phi(seal, index(name = "ssn", bits = 64, normalizer = "digits", version = 1))]`: also a blind
//!   index over it, repeatable. The values shown are the defaults, but for the name, which is the
//!   column's, and the normalizer, which is `exact`. The version is the one with which the index
//!   begins: a rotation raises it, not the source.
//!   - For text: `exact`, `folded`, `digits`, `alphanumeric`, `e164:<country>`, `last:<count>`,
//!     `prefix:<length>`, `year`, `year_month`, `month_day`.
//!   - For `i64`: `exact`, `bucket:<width>`. For `bool`: `exact`.
//! - `#[phi(seal, pad = 32)]`: also padded to a multiple of 32 bytes, so that the ciphertext does not
//!   tell how long the value is. For enumerations and short texts.
//! - `#[phi(seal, suite = "compact")]`: 32 bytes shorter than the `standard` suite, without a commitment
//!   to the key.
//! - `#[phi(seal, suite = "deterministic", bind = "column", cardinality = 5000000)]`: equal values have
//!   equal ciphertexts. Refused below 2^20 distinct values, unless `audited_override` is added and
//!   `Encryption::allow_low_cardinality` was called.
//! - `#[phi(seal, bind = "column")]`: bound to its tenant, table and column, but not to its row.
//! - nothing: plain, stored as it is. The twin derives `Debug`, `Clone` and `PartialEq`, and so
//!   must plain types. A `Phi` that is not sealed is refused, also behind an alias: `Phi` has no
//!   `PartialEq`.

mod attributes;
mod compound;
mod expand;
mod record;
mod rule;
mod sealing;

use proc_macro::TokenStream;

/// Derives `PhiRecord`; the crate's page says what it writes and which attributes it takes.
#[proc_macro_derive(PhiRecord, attributes(phi))]
pub fn derive_phi_record(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    match record::Record::read(input) {
        Ok(record) => expand::expand(&record).into(),
        Err(error) => error.into_compile_error().into(),
    }
}
