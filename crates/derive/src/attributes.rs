//! What `#[phi(...)]` may say, on a record and on a field.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned as _;
use syn::{Attribute, Error, LitInt, LitStr, Path, Result};

use crate::compound::CompoundAttributes;
use crate::rule::Rule;
use crate::sealing::SealingAttributes;

/// `#[phi(...)]` on the record.
pub(crate) struct RecordAttributes {
    pub(crate) table: LitStr,
    pub(crate) krate: Path,
    pub(crate) whole: bool,
    pub(crate) compounds: Vec<CompoundAttributes>,
}

/// `#[phi(...)]` on one field.
#[derive(Default)]
pub(crate) struct FieldAttributes {
    pub(crate) row: Option<Span>,
    pub(crate) seal: Option<Span>,
    pub(crate) column: Option<LitStr>,
    pub(crate) sealing: SealingAttributes,
    pub(crate) indexes: Vec<IndexAttributes>,
}

/// `index(...)`.
pub(crate) struct IndexAttributes {
    pub(crate) span: Span,
    pub(crate) name: Option<LitStr>,
    pub(crate) bits: u16,
    pub(crate) rule: Rule,
    /// Where the rule is said.
    pub(crate) rule_span: Span,
    pub(crate) version: u8,
}

fn phi(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("phi"))
}

pub(crate) fn once<T>(slot: &mut Option<T>, value: T, meta: &ParseNestedMeta<'_>) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(meta.error("said twice"));
    }
    Ok(())
}

impl RecordAttributes {
    pub(crate) fn read(attributes: &[Attribute], record: Span) -> Result<Self> {
        let (mut table, mut krate, mut whole) = (None, None, None);
        let mut compounds = Vec::new();
        for attribute in phi(attributes) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("table") {
                    let name: LitStr = meta.value()?.parse()?;
                    check_name(&name, "a table")?;
                    once(&mut table, name, &meta)
                } else if meta.path.is_ident("crate") {
                    let path: LitStr = meta.value()?.parse()?;
                    once(&mut krate, path.parse()?, &meta)
                } else if meta.path.is_ident("mode") {
                    once(&mut whole, mode(&meta.value()?.parse()?)?, &meta)
                } else if meta.path.is_ident("index") {
                    compounds.push(CompoundAttributes::read(&meta)?);
                    Ok(())
                } else {
                    Err(meta.error(
                        "a record knows `table = \"...\"`, `mode = \"...\"`, `crate = \"...\"` and \
                         `index(...)`",
                    ))
                }
            })?;
        }
        let table = table.ok_or_else(|| {
            Error::new(
                record,
                "a PHI record needs its table: add `#[phi(table = \"...\")]`; the table is part of \
                 what each field is sealed for",
            )
        })?;
        Ok(Self {
            table,
            krate: krate.unwrap_or_else(|| syn::parse_quote!(::eonpro_core)),
            whole: whole.unwrap_or(false),
            compounds,
        })
    }
}

impl FieldAttributes {
    pub(crate) fn read(attributes: &[Attribute]) -> Result<Self> {
        let mut own = Self::default();
        for attribute in phi(attributes) {
            attribute.parse_nested_meta(|meta| own.take(&meta))?;
        }
        Ok(own)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let span = meta.path.span();
        if meta.path.is_ident("row") {
            once(&mut self.row, span, meta)
        } else if meta.path.is_ident("seal") {
            once(&mut self.seal, span, meta)
        } else if meta.path.is_ident("column") {
            let name: LitStr = meta.value()?.parse()?;
            check_name(&name, "a column")?;
            once(&mut self.column, name, meta)
        } else if meta.path.is_ident("index") {
            self.indexes.push(IndexAttributes::read(meta)?);
            Ok(())
        } else if self.sealing.take(meta)? {
            Ok(())
        } else {
            Err(meta.error(
                "a field knows `row`, `seal`, `column`, `suite`, `bind`, `pad`, `cardinality`, \
                 `audited_override` and `index(...)`",
            ))
        }
    }
}

/// `true` for a record that is sealed as a whole.
fn mode(literal: &LitStr) -> Result<bool> {
    match literal.value().as_str() {
        "fields" => Ok(false),
        "whole" => Ok(true),
        _ => Err(Error::new(
            literal.span(),
            "a record is sealed by `fields`, or as a `whole`",
        )),
    }
}

impl IndexAttributes {
    fn read(meta: &ParseNestedMeta<'_>) -> Result<Self> {
        let mut own = Self {
            span: meta.path.span(),
            name: None,
            bits: 64,
            rule: Rule::exact(),
            rule_span: meta.path.span(),
            version: 1,
        };
        // `index` alone takes every default.
        if meta.input.is_empty() || meta.input.peek(syn::Token![,]) {
            return Ok(own);
        }
        meta.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                let name: LitStr = meta.value()?.parse()?;
                check_identifier(&name)?;
                once(&mut own.name, name, &meta)
            } else if meta.path.is_ident("bits") {
                own.bits = bits(&meta.value()?.parse()?)?;
                Ok(())
            } else if meta.path.is_ident("version") {
                own.version = version(&meta.value()?.parse()?)?;
                Ok(())
            } else if meta.path.is_ident("normalizer") {
                let rule: LitStr = meta.value()?.parse()?;
                (own.rule, own.rule_span) = (Rule::read(&rule)?, rule.span());
                Ok(())
            } else {
                Err(meta.error("an index knows `name`, `bits`, `normalizer` and `version`"))
            }
        })?;
        Ok(own)
    }
}

pub(crate) fn bits(literal: &LitInt) -> Result<u16> {
    let bits = literal.base10_parse()?;
    if (8..=256).contains(&bits) && bits % 8 == 0 {
        return Ok(bits);
    }
    Err(Error::new(
        literal.span(),
        "an index keeps 8 to 256 bits, a multiple of 8",
    ))
}

pub(crate) fn version(literal: &LitInt) -> Result<u8> {
    match literal.base10_parse()? {
        0 => Err(Error::new(literal.span(), "versions begin with 1")),
        version => Ok(version),
    }
}

/// Tables and columns: 1 to 64 characters of `a-z 0-9 _ -`.
pub(crate) fn check_name(name: &LitStr, what: &str) -> Result<()> {
    if fits(&name.value()) {
        return Ok(());
    }
    Err(Error::new(
        name.span(),
        format!("{what} is named by 1 to 64 characters of a-z, 0-9, _ and -"),
    ))
}

pub(crate) fn fits(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// Index names become parts of identifiers.
pub(crate) fn check_identifier(name: &LitStr) -> Result<()> {
    if fits(&name.value()) && !name.value().contains('-') {
        return Ok(());
    }
    Err(Error::new(
        name.span(),
        "an index is named by 1 to 64 characters of a-z, 0-9 and _",
    ))
}
