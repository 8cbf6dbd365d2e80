//! The rules by which an index normalizes: the ids of `eonpro_core::phi::Normalizer`, as text.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, LitStr, Result, Type};

/// One rule, checked.
#[derive(Clone)]
pub(crate) struct Rule {
    id: String,
    /// The variant of `Normalizer`, with its fields.
    variant: TokenStream,
    on: Values,
}

/// Whose search text a rule understands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Any,
    Text,
    Numbers,
}

const KNOWN: &str = "normalizers are `exact`, `folded`, `digits`, `alphanumeric`, `year`, \
     `year_month`, `month_day`, `e164:<country>`, `last:<count>`, `prefix:<length>` and \
     `bucket:<width>`";

impl Rule {
    pub(crate) fn exact() -> Self {
        Self {
            id: "exact".to_owned(),
            variant: quote!(Exact),
            on: Values::Any,
        }
    }

    pub(crate) fn read(literal: &LitStr) -> Result<Self> {
        let id = literal.value();
        let (name, parameter) = match id.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (id.as_str(), None),
        };
        let plain = match name {
            "exact" => Some((quote!(Exact), Values::Any)),
            "folded" => Some((quote!(Folded), Values::Text)),
            "digits" => Some((quote!(Digits), Values::Text)),
            "alphanumeric" => Some((quote!(Alphanumeric), Values::Text)),
            "year" => Some((quote!(Year), Values::Text)),
            "year_month" => Some((quote!(YearMonth), Values::Text)),
            "month_day" => Some((quote!(MonthDay), Values::Text)),
            _ => None,
        };
        let (variant, on) = match (plain, parameter) {
            (Some(rule), None) => rule,
            (Some(_), Some(_)) => {
                let message = format!("`{name}` takes no parameter");
                return Err(Error::new(literal.span(), message));
            }
            (None, _) => with_parameter(literal, name, parameter)?,
        };
        Ok(Self { id, variant, on })
    }

    /// The variant of `Normalizer`.
    pub(crate) fn variant(&self) -> &TokenStream {
        &self.variant
    }

    /// Refuses a rule that the values of a type can never fit.
    pub(crate) fn check_type(&self, value: &Type, at: proc_macro2::Span) -> Result<()> {
        let id = &self.id;
        let message = match (last_name(value).as_deref(), self.on) {
            (Some("Vec"), _) => "a blind index needs text: this type is not searchable".to_owned(),
            (Some("String"), Values::Numbers) => {
                format!("`{id}` is a rule for numbers: this field is text, not `Phi<i64>`")
            }
            (Some("i64"), Values::Text) => format!(
                "`{id}` is a rule for text: a number is indexed by `exact` or `bucket:<width>`"
            ),
            (Some("bool"), Values::Text | Values::Numbers) => {
                format!("`{id}` fits no `bool`: it is indexed by `exact`")
            }
            _ => return Ok(()),
        };
        Err(Error::new(at, message))
    }
}

fn with_parameter(
    literal: &LitStr,
    name: &str,
    parameter: Option<&str>,
) -> Result<(TokenStream, Values)> {
    let (most, what, on) = match name {
        "e164" => (999, "a calling code, `e164:1` to `e164:999`", Values::Text),
        "last" => (
            32,
            "a number of characters, `last:1` to `last:32`",
            Values::Text,
        ),
        "prefix" => (
            32,
            "a number of characters, `prefix:1` to `prefix:32`",
            Values::Text,
        ),
        "bucket" => (
            i64::MAX,
            "a width of at least 1, such as `bucket:10`",
            Values::Numbers,
        ),
        _ => {
            let message = format!("no normalizer `{}`: {KNOWN}", literal.value());
            return Err(Error::new(literal.span(), message));
        }
    };
    let number = parameter
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0'))
        .and_then(|text| text.parse::<i64>().ok())
        .filter(|number| (1..=most).contains(number));
    let Some(number) = number else {
        let message = format!("`{name}` needs {what}");
        return Err(Error::new(literal.span(), message));
    };
    let number = proc_macro2::Literal::i64_unsuffixed(number);
    let variant = match name {
        "e164" => quote!(E164 { country: #number }),
        "last" => quote!(Last { count: #number }),
        "prefix" => quote!(Prefix { length: #number }),
        _ => quote!(Bucket { width: #number }),
    };
    Ok((variant, on))
}

fn last_name(ty: &Type) -> Option<String> {
    let Type::Path(path) = ty else { return None };
    path.path
        .segments
        .last()
        .map(|segment| segment.ident.to_string())
}
