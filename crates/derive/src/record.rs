//! A record as its source declares it, checked.

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, Error, Fields, GenericArgument, LitStr, Path, PathArguments, Result};
use syn::{Type, Visibility};

use crate::attributes::{FieldAttributes, IndexAttributes, RecordAttributes, fits};
use crate::compound::Compound;
use crate::rule::Rule;
use crate::sealing::Sealing;

/// The twin's field for the head of a record that is sealed as a whole.
pub(crate) const HEAD: &str = "phi_head";

pub(crate) struct Record {
    pub(crate) name: Ident,
    pub(crate) visibility: Visibility,
    pub(crate) table: LitStr,
    pub(crate) krate: Path,
    /// Whether it is sealed as a whole.
    pub(crate) whole: bool,
    pub(crate) fields: Vec<Field>,
    pub(crate) compounds: Vec<Compound>,
}

pub(crate) struct Field {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    pub(crate) column: String,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    Row,
    Plain,
    Sealed(Box<SealedField>),
}

pub(crate) struct SealedField {
    /// The `T` of `Phi<T>`.
    pub(crate) value: Type,
    pub(crate) presence: Presence,
    pub(crate) sealing: Sealing,
    pub(crate) indexes: Vec<Index>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Always,
    Optional,
}

pub(crate) struct Index {
    pub(crate) name: String,
    /// The twin's field.
    pub(crate) field: Ident,
    /// The record's constant.
    pub(crate) constant: Ident,
    pub(crate) bits: u16,
    pub(crate) rule: Rule,
    pub(crate) version: u8,
}

impl Record {
    pub(crate) fn read(input: DeriveInput) -> Result<Self> {
        if !input.generics.params.is_empty() {
            return Err(Error::new(
                input.generics.span(),
                "a PHI record has no generics: its schema is one constant",
            ));
        }
        let attributes = RecordAttributes::read(&input.attrs, input.ident.span())?;
        let fields = match input.data {
            Data::Struct(data) => match data.fields {
                Fields::Named(fields) => fields.named,
                _ => return Err(not_a_record(&input.ident)),
            },
            _ => return Err(not_a_record(&input.ident)),
        };
        let fields = fields
            .into_iter()
            .map(|field| Field::read(field, attributes.whole))
            .collect::<Result<Vec<_>>>()?;
        check_row(&fields, input.ident.span())?;
        let compounds = Compound::read_all(attributes.compounds, &fields)?;
        check_names(&fields, &compounds, attributes.whole)?;
        Ok(Self {
            whole: attributes.whole,
            name: input.ident,
            visibility: input.vis,
            table: attributes.table,
            krate: attributes.krate,
            fields,
            compounds,
        })
    }
}

fn not_a_record(name: &Ident) -> Error {
    Error::new(name.span(), "a PHI record is a struct with named fields")
}

fn check_row(fields: &[Field], record: Span) -> Result<()> {
    let mut rows = fields
        .iter()
        .filter(|field| matches!(field.kind, Kind::Row));
    if rows.next().is_none() {
        return Err(Error::new(
            record,
            "a PHI record needs its row: add `#[phi(row)]` to a field of type `RowId`; the row is \
             part of what each field is sealed for",
        ));
    }
    match rows.next() {
        Some(second) => Err(Error::new(
            second.name.span(),
            "a second `#[phi(row)]`: a PHI record belongs to exactly one row",
        )),
        None => Ok(()),
    }
}

/// Two fields on one column would be sealed for the same cell: one could stand for the other.
fn check_names(fields: &[Field], compounds: &[Compound], whole: bool) -> Result<()> {
    let mut columns = Vec::new();
    let mut names: Vec<String> = fields.iter().map(|field| plain(&field.name)).collect();
    for field in fields {
        if whole && plain(&field.name) == HEAD {
            let message = format!("the twin has a field `{HEAD}` of its own: rename this one");
            return Err(Error::new(field.name.span(), message));
        }
        if columns.contains(&&field.column) {
            return Err(Error::new(
                field.name.span(),
                "another field has this column: values could be swapped between them",
            ));
        }
        columns.push(&field.column);
        let Kind::Sealed(sealed) = &field.kind else {
            continue;
        };
        for index in &sealed.indexes {
            let name = index.field.to_string();
            if names.contains(&name) {
                return Err(two_fields(&name, field.name.span()));
            }
            names.push(name);
        }
    }
    for compound in compounds {
        let name = compound.field.to_string();
        if names.contains(&name) {
            return Err(two_fields(&name, compound.field.span()));
        }
    }
    Ok(())
}

fn two_fields(name: &str, at: Span) -> Error {
    let message = format!("the twin would have two fields `{name}`: rename the index");
    Error::new(at, message)
}

pub(crate) fn plain(name: &Ident) -> String {
    name.unraw().to_string()
}

impl Field {
    fn read(field: syn::Field, whole: bool) -> Result<Self> {
        let name = field
            .ident
            .ok_or_else(|| Error::new(Span::call_site(), "a PHI record has named fields"))?;
        let attributes = FieldAttributes::read(&field.attrs)?;
        let column = match &attributes.column {
            Some(column) => column.value(),
            None => plain(&name),
        };
        if !fits(&column) {
            return Err(Error::new(
                name.span(),
                "not a column name: add `column = \"...\"` of a-z, 0-9, _ and -",
            ));
        }
        let kind = Self::kind(&name, &field.ty, attributes, &column, whole)?;
        Ok(Self {
            name,
            ty: field.ty,
            column,
            kind,
        })
    }

    fn kind(
        name: &Ident,
        ty: &Type,
        said: FieldAttributes,
        column: &str,
        whole: bool,
    ) -> Result<Kind> {
        if said.seal.is_none()
            && let Some(span) = said.sealing.first()
        {
            return Err(Error::new(
                span,
                "this says how a field is sealed, but the field is not: add `seal`",
            ));
        }
        match (said.row, said.seal) {
            (Some(row), Some(_)) => Err(Error::new(
                row,
                "a row is not sealed: it says where the sealed fields belong",
            )),
            (Some(_), None) => {
                no_indexes(&said, "a row is found by its id, not by a blind index")?;
                Ok(Kind::Row)
            }
            (None, None) => {
                no_indexes(&said, "a blind index belongs to a sealed field: add `seal`")?;
                if mentions_phi(ty) {
                    return Err(Error::new(
                        ty.span(),
                        "this field is PHI but not sealed: add `#[phi(seal)]`, and make its type \
                         `Phi<T>` or `Option<Phi<T>>`",
                    ));
                }
                Ok(Kind::Plain)
            }
            (None, Some(seal)) => {
                let (value, presence) = phi_value(ty).ok_or_else(|| {
                    Error::new(
                        ty.span(),
                        "`seal` needs a field of type `Phi<T>` or `Option<Phi<T>>`: PHI that lies \
                         in a plain type can be printed and logged",
                    )
                })?;
                let sealing = said.sealing.check(whole, seal)?;
                let indexes = Index::read_all(name, said.indexes, column, &value)?;
                Ok(Kind::Sealed(Box::new(SealedField {
                    value,
                    presence,
                    sealing,
                    indexes,
                })))
            }
        }
    }
}

fn no_indexes(said: &FieldAttributes, why: &str) -> Result<()> {
    match said.indexes.first() {
        Some(index) => Err(Error::new(index.span, why)),
        None => Ok(()),
    }
}

impl Index {
    fn read_all(
        field: &Ident,
        said: Vec<IndexAttributes>,
        column: &str,
        value: &Type,
    ) -> Result<Vec<Self>> {
        let several = said.len() > 1;
        let mut indexes: Vec<Self> = Vec::with_capacity(said.len());
        for index in said {
            index.rule.check_type(value, index.rule_span)?;
            let name = match &index.name {
                Some(name) => name.value(),
                None => column.replace('-', "_"),
            };
            if indexes.iter().any(|other| other.name == name) {
                return Err(Error::new(
                    index.span,
                    "two indexes of one field need two names: add `name = \"...\"`",
                ));
            }
            let stem = match several {
                true => format!("{}_{name}_index", plain(field)),
                false => format!("{}_index", plain(field)),
            };
            indexes.push(Self {
                field: Ident::new(&stem, field.span()),
                constant: Ident::new(&stem.to_uppercase(), field.span()),
                name,
                bits: index.bits,
                rule: index.rule,
                version: index.version,
            });
        }
        Ok(indexes)
    }
}

/// `T` of `Phi<T>` and of `Option<Phi<T>>`.
fn phi_value(ty: &Type) -> Option<(Type, Presence)> {
    if let Some(value) = argument_of(ty, "Phi") {
        return Some((value.clone(), Presence::Always));
    }
    let inner = argument_of(ty, "Option")?;
    Some((argument_of(inner, "Phi")?.clone(), Presence::Optional))
}

fn argument_of<'a>(ty: &'a Type, wrapper: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    if last.ident != wrapper {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match (arguments.args.first(), arguments.args.len()) {
        (Some(GenericArgument::Type(inner)), 1) => Some(inner),
        _ => None,
    }
}

/// Whether the name `Phi` stands anywhere in the type.
fn mentions_phi(ty: &Type) -> bool {
    fn within(tokens: proc_macro2::TokenStream) -> bool {
        tokens.into_iter().any(|token| match token {
            proc_macro2::TokenTree::Ident(ident) => ident == "Phi",
            proc_macro2::TokenTree::Group(group) => within(group.stream()),
            _ => false,
        })
    }
    within(quote::quote!(#ty))
}
