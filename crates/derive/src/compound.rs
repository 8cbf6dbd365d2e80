//! Compound indexes: `index(name = "...", fields(a: "rule", b: "rule"))` on the record.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, LitStr, Result, Token};

use crate::attributes::{bits, check_identifier, once, version};
use crate::record::{Field, Kind, plain};
use crate::rule::Rule;

/// The most fields of a compound: `IndexDef::MAX_PARTS`.
const MAX_PARTS: usize = 8;

/// As the attribute says it.
pub(crate) struct CompoundAttributes {
    span: Span,
    name: LitStr,
    bits: u16,
    version: u8,
    parts: Vec<PartAttributes>,
}

struct PartAttributes {
    field: Ident,
    rule: LitStr,
}

/// Checked against the record's fields.
pub(crate) struct Compound {
    pub(crate) name: String,
    /// The twin's field.
    pub(crate) field: Ident,
    /// The record's constant.
    pub(crate) constant: Ident,
    pub(crate) bits: u16,
    pub(crate) version: u8,
    pub(crate) parts: Vec<Part>,
}

pub(crate) struct Part {
    /// Where the field is among the record's.
    pub(crate) at: usize,
    pub(crate) rule: Rule,
}

impl Parse for PartAttributes {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let field = input.parse()?;
        let needs = "each field needs its rule: `fields(last_name: \"folded\", born: \"year\")`";
        input
            .parse::<Token![:]>()
            .map_err(|error| Error::new(error.span(), needs))?;
        let rule = input
            .parse()
            .map_err(|error| Error::new(error.span(), needs))?;
        Ok(Self { field, rule })
    }
}

impl CompoundAttributes {
    pub(crate) fn read(meta: &ParseNestedMeta<'_>) -> Result<Self> {
        let span = meta
            .path
            .get_ident()
            .map_or_else(Span::call_site, Ident::span);
        let (mut name, mut parts) = (None, None);
        let (mut kept, mut first) = (64, 1);
        let needs = "an index on a record is a compound: `index(name = \"...\", fields(a: \"...\", \
                     b: \"...\"))`";
        if !meta.input.peek(syn::token::Paren) {
            return Err(Error::new(span, needs));
        }
        meta.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                let said: LitStr = meta.value()?.parse()?;
                check_identifier(&said)?;
                once(&mut name, said, &meta)
            } else if meta.path.is_ident("bits") {
                kept = bits(&meta.value()?.parse()?)?;
                Ok(())
            } else if meta.path.is_ident("version") {
                first = version(&meta.value()?.parse()?)?;
                Ok(())
            } else if meta.path.is_ident("fields") {
                let inner;
                syn::parenthesized!(inner in meta.input);
                let said = Punctuated::<PartAttributes, Token![,]>::parse_terminated(&inner)?;
                once(&mut parts, said.into_iter().collect(), &meta)
            } else {
                Err(meta
                    .error("a compound index knows `name`, `fields(...)`, `bits` and `version`"))
            }
        })?;
        Ok(Self {
            span,
            name: name.ok_or_else(|| Error::new(span, needs))?,
            bits: kept,
            version: first,
            parts: parts.ok_or_else(|| Error::new(span, needs))?,
        })
    }
}

impl Compound {
    pub(crate) fn read_all(said: Vec<CompoundAttributes>, fields: &[Field]) -> Result<Vec<Self>> {
        let mut compounds: Vec<Self> = Vec::with_capacity(said.len());
        for one in said {
            let compound = Self::read(one, fields, &compounds)?;
            compounds.push(compound);
        }
        Ok(compounds)
    }

    fn read(said: CompoundAttributes, fields: &[Field], before: &[Self]) -> Result<Self> {
        let name = said.name.value();
        if before.iter().any(|other| other.name == name) {
            return Err(Error::new(
                said.name.span(),
                format!("another compound index of this record is named `{name}`"),
            ));
        }
        if !(2..=MAX_PARTS).contains(&said.parts.len()) {
            return Err(Error::new(
                said.span,
                "a compound index is over 2 to 8 fields: an index over one belongs to that field",
            ));
        }
        let mut parts: Vec<Part> = Vec::with_capacity(said.parts.len());
        for part in &said.parts {
            let part = Part::read(part, fields, &parts)?;
            parts.push(part);
        }
        let stem = format!("{name}_index");
        Ok(Self {
            field: Ident::new(&stem, said.name.span()),
            constant: Ident::new(&stem.to_uppercase(), said.name.span()),
            name,
            bits: said.bits,
            version: said.version,
            parts,
        })
    }
}

impl Part {
    fn read(said: &PartAttributes, fields: &[Field], before: &[Self]) -> Result<Self> {
        let (wanted, span) = (plain(&said.field), said.field.span());
        let found = fields
            .iter()
            .enumerate()
            .find(|(_, field)| plain(&field.name) == wanted);
        let Some((at, field)) = found else {
            let known: Vec<String> = fields
                .iter()
                .filter(|field| matches!(field.kind, Kind::Sealed(_)))
                .map(|field| format!("`{}`", plain(&field.name)))
                .collect();
            let message = format!(
                "no field `{wanted}` in this record; its sealed fields are {}",
                known.join(", ")
            );
            return Err(Error::new(span, message));
        };
        let Kind::Sealed(sealed) = &field.kind else {
            let message = format!(
                "field `{wanted}` is not sealed: a blind index over what is stored in clear hides \
                 nothing, search that column itself"
            );
            return Err(Error::new(span, message));
        };
        if before.iter().any(|part| part.at == at) {
            let message = format!("field `{wanted}` is a part of this index already");
            return Err(Error::new(span, message));
        }
        let rule = Rule::read(&said.rule)?;
        rule.check_type(&sealed.value, said.rule.span())?;
        Ok(Self { at, rule })
    }
}
