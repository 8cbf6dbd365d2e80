//! `#[derive(PhiRecord)]`: says once what is PHI, and gets sealing, search and schema for it.
//!
//! For a record `Patient` the derive writes
//!
//! - the twin `SealedPatient`, with the record's visibility: the row and the plain fields as they
//!   are, `Sealed<T>` or `Option<Sealed<T>>` for each sealed field, and an `IndexToken` for each
//!   index: `ssn_index`, or `ssn_<name>_index` if the field has several;
//! - `impl PhiRecord for Patient`, with the schema that the logger and the data map read;
//! - one constant per index, to query by: `Patient::SSN_INDEX`, or `Patient::SSN_<NAME>_INDEX`.
//!
//! # On the record
//! `#[phi(table = "patients")]` names the table. `#[phi(crate = "eonpro::core")]` says where
//! `eonpro-core` is, if not at `::eonpro_core`.
//!
//! # On the fields
//! - `#[phi(row)]`: the row's id, of type `RowId`. Exactly one.
//! - `#[phi(seal)]`: PHI, of type `Phi<T>` or `Option<Phi<T>>`. `column = "name"` names another
//!   column than the field.
//! - `#[phi(seal, index(name = "ssn", bits = 64, normalizer = "digits", version = 1))]`: also a blind
//!   index over it, repeatable. The values shown are the defaults, but for the name, which is the
//!   column's, and the normalizer, which is `exact`. Normalizers: `exact`, `folded`, `digits`,
//!   `alphanumeric`.
//! - nothing: plain, stored as it is. The twin derives `Debug`, `Clone` and `PartialEq`, and so
//!   must plain types. A `Phi` that is not sealed is refused, also behind an alias: `Phi` has no
//!   `PartialEq`.

mod attributes;
mod compound;
mod expand;
mod record;
mod rule;

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
