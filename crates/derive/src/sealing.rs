//! How a field says that it is sealed: `suite`, `bind`, `pad`, `cardinality`, `audited_override`.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned as _;
use syn::{Error, LitInt, LitStr, Result};

use crate::attributes::once;

/// As `FieldSealing::MIN_CARDINALITY` of `eonpro-core`.
const MIN_CARDINALITY: u64 = 1 << 20;
/// As `FieldSealing::MAX_PAD` of `eonpro-core`.
const MAX_PAD: u16 = 4096;

/// What was said.
#[derive(Default)]
pub(crate) struct SealingAttributes {
    suite: Option<(Suite, Span)>,
    by_column: Option<(bool, Span)>,
    pad: Option<(u16, Span)>,
    cardinality: Option<(u64, Span)>,
    overridden: Option<Span>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    Standard,
    Compact,
    Deterministic,
}

/// What it comes to.
pub(crate) struct Sealing {
    pub(crate) suite: Suite,
    pub(crate) by_column: bool,
    pub(crate) pad: u16,
    pub(crate) cardinality: u64,
}

impl SealingAttributes {
    /// Takes one attribute; `false` if it is none of these.
    pub(crate) fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<bool> {
        let span = meta.path.span();
        if meta.path.is_ident("suite") {
            let suite = suite(&meta.value()?.parse()?)?;
            once(&mut self.suite, (suite, span), meta)?;
        } else if meta.path.is_ident("bind") {
            let by_column = bind(&meta.value()?.parse()?)?;
            once(&mut self.by_column, (by_column, span), meta)?;
        } else if meta.path.is_ident("pad") {
            let pad = pad(&meta.value()?.parse()?)?;
            once(&mut self.pad, (pad, span), meta)?;
        } else if meta.path.is_ident("cardinality") {
            let number: LitInt = meta.value()?.parse()?;
            once(&mut self.cardinality, (number.base10_parse()?, span), meta)?;
        } else if meta.path.is_ident("audited_override") {
            once(&mut self.overridden, span, meta)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The place of the first attribute, if there is any.
    pub(crate) fn first(&self) -> Option<Span> {
        self.of_one_field()
            .or(self.pad.map(|(_, span)| span))
            .or(self.cardinality.map(|(_, span)| span))
            .or(self.overridden)
    }

    /// The place of what a record that is sealed as a whole cannot grant to one field.
    fn of_one_field(&self) -> Option<Span> {
        let suite = self.suite.map(|(_, span)| span);
        suite.or(self.by_column.map(|(_, span)| span))
    }

    /// Checks that it fits together. `field` is where to complain about what is missing.
    pub(crate) fn check(&self, whole: bool, field: Span) -> Result<Sealing> {
        if whole && let Some(span) = self.of_one_field() {
            return Err(Error::new(
                span,
                "a record with `mode = \"whole\"` is one message of the standard suite, bound to its \
                 row: its fields have no suite and no binding of their own",
            ));
        }
        let suite = self.suite.map_or(Suite::Standard, |(suite, _)| suite);
        let by_column = self.by_column.is_some_and(|(by_column, _)| by_column);
        let cardinality = self.cardinality.map_or(0, |(number, _)| number);
        if suite == Suite::Deterministic {
            self.check_deterministic(by_column, cardinality, field)?;
        } else if let Some(span) = self.cardinality.map(|(_, span)| span).or(self.overridden) {
            return Err(Error::new(
                span,
                "only a field with `suite = \"deterministic\"` says how many values it has, or overrides \
                 it: in the other suites equal values look different",
            ));
        }
        Ok(Sealing {
            suite,
            by_column,
            pad: self.pad.map_or(0, |(pad, _)| pad),
            cardinality,
        })
    }

    fn check_deterministic(&self, by_column: bool, cardinality: u64, field: Span) -> Result<()> {
        if !by_column {
            return Err(Error::new(
                field,
                "equal values of a deterministic field have equal ciphertexts, which can be exchanged \
                 between rows: say so by `bind = \"column\"`",
            ));
        }
        let span = self.cardinality.map_or(field, |(_, span)| span);
        match (cardinality >= MIN_CARDINALITY, self.overridden) {
            (true, None) | (false, Some(_)) => Ok(()),
            (true, Some(span)) => Err(Error::new(
                span,
                "a column of that many distinct values needs no override",
            )),
            (false, None) => Err(Error::new(
                span,
                "a deterministic field shows which rows are equal, and with fewer than 2^20 distinct \
                 values also what they are: declare `cardinality = 1048576` or more, use a blind \
                 index, or add `audited_override` and allow the column at run time",
            )),
        }
    }
}

fn suite(literal: &LitStr) -> Result<Suite> {
    match literal.value().as_str() {
        "standard" => Ok(Suite::Standard),
        "compact" => Ok(Suite::Compact),
        "deterministic" => Ok(Suite::Deterministic),
        _ => Err(Error::new(
            literal.span(),
            "suites are `standard`, `compact` and `deterministic`",
        )),
    }
}

/// `true` for a field that is bound to its column only.
fn bind(literal: &LitStr) -> Result<bool> {
    match literal.value().as_str() {
        "row" => Ok(false),
        "column" => Ok(true),
        _ => Err(Error::new(
            literal.span(),
            "a field is bound to its `row`, or only to its `column`",
        )),
    }
}

fn pad(literal: &LitInt) -> Result<u16> {
    match literal.base10_parse() {
        Ok(pad @ 1..=MAX_PAD) => Ok(pad),
        _ => Err(Error::new(
            literal.span(),
            "a field is padded to a multiple of 1 to 4096 bytes: leave `pad` out if its length may \
             show",
        )),
    }
}
