//! What the derive writes.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt as _;
use syn::{Ident, Path};

use crate::compound::Compound;
use crate::record::{Field, HEAD, Index, Kind, Presence, Record, SealedField};
use crate::rule::Rule;
use crate::sealing::{Sealing, Suite};

pub(crate) fn expand(record: &Record) -> TokenStream {
    let parts = [constants(record), twin(record), implementation(record)];
    parts.into_iter().collect()
}

fn twin_name(record: &Record) -> Ident {
    format_ident!("Sealed{}", record.name.unraw())
}

fn phi(record: &Record) -> TokenStream {
    let krate = &record.krate;
    quote!(#krate::phi)
}

fn sealed_fields(record: &Record) -> impl Iterator<Item = (&Field, &SealedField)> {
    record.fields.iter().filter_map(|field| match &field.kind {
        Kind::Sealed(sealed) => Some((field, &**sealed)),
        Kind::Row | Kind::Plain => None,
    })
}

/// The index definitions, as constants of the record.
fn constants(record: &Record) -> TokenStream {
    let (name, visibility) = (&record.name, &record.visibility);
    let phi = phi(record);
    let of_fields = sealed_fields(record).flat_map(|(field, sealed)| {
        let phi = &phi;
        sealed.indexes.iter().map(move |index| {
            let doc = format!(
                "The blind index `{}` over column `{}`.",
                index.name, field.column
            );
            let parts = [part(phi, field, &index.rule)];
            let definition = definition(record, &index.name, index.bits, index.version, &parts);
            (doc, &index.constant, definition)
        })
    });
    let compounds = record.compounds.iter().map(|compound| {
        let members = members(record, compound);
        let columns: Vec<String> = members
            .map(|(field, _, _)| format!("`{}`", field.column))
            .collect();
        let columns = columns.join(", ");
        let doc = format!(
            "The blind index `{}` over columns {columns}.",
            compound.name
        );
        let parts: Vec<TokenStream> = self::members(record, compound)
            .map(|(field, _, rule)| part(&phi, field, rule))
            .collect();
        let (name, bits, version) = (&compound.name, compound.bits, compound.version);
        let definition = definition(record, name, bits, version, &parts);
        (doc, &compound.constant, definition)
    });
    let constants = of_fields
        .chain(compounds)
        .map(|(doc, constant, definition)| {
            quote! {
                #[doc = #doc]
                #visibility const #constant: #phi::IndexDef = #definition;
            }
        });
    quote! {
        #[automatically_derived]
        #[allow(dead_code, reason = "a record need not be queried by each of its indexes")]
        impl #name { #(#constants)* }
    }
}

fn definition(
    record: &Record,
    name: &str,
    bits: u16,
    version: u8,
    parts: &[TokenStream],
) -> TokenStream {
    let (phi, table) = (phi(record), &record.table);
    quote! {
        #phi::IndexDef {
            table: #phi::Table::new(#table),
            name: #name,
            bits: #bits,
            version: #version,
            parts: &[#(#parts),*],
        }
    }
}

fn part(phi: &TokenStream, field: &Field, rule: &Rule) -> TokenStream {
    let (column, rule) = (&field.column, rule.variant());
    quote! {
        #phi::IndexPart {
            column: #phi::Column::new(#column),
            normalizer: #phi::Normalizer::#rule,
        }
    }
}

/// The fields of a compound index, in its order.
fn members<'a>(
    record: &'a Record,
    compound: &'a Compound,
) -> impl Iterator<Item = (&'a Field, &'a SealedField, &'a Rule)> {
    compound.parts.iter().filter_map(|part| {
        let field = record.fields.get(part.at)?;
        match &field.kind {
            Kind::Sealed(sealed) => Some((field, &**sealed, &part.rule)),
            Kind::Row | Kind::Plain => None,
        }
    })
}

/// The sealed twin.
fn twin(record: &Record) -> TokenStream {
    let (visibility, twin, phi) = (&record.visibility, twin_name(record), phi(record));
    let fields = record.fields.iter().map(|field| {
        let (name, ty) = (&field.name, &field.ty);
        let doc = match &field.kind {
            Kind::Row => "The row.".to_owned(),
            Kind::Plain => format!("`{}`, as it is.", name.unraw()),
            Kind::Sealed(_) => format!("`{}`, sealed.", name.unraw()),
        };
        match &field.kind {
            Kind::Row | Kind::Plain => quote!(#[doc = #doc] #visibility #name: #ty,),
            Kind::Sealed(sealed) => {
                let value = &sealed.value;
                let ty = present(sealed.presence, quote!(#phi::Sealed<#value>));
                let tokens = sealed.indexes.iter().map(|index| {
                    let (field, of) = (&index.field, name.unraw());
                    let doc = format!("The tokens of index `{}` over `{of}`.", index.name);
                    quote!(#[doc = #doc] #visibility #field: #phi::IndexSlots,)
                });
                quote!(#[doc = #doc] #visibility #name: #ty, #(#tokens)*)
            }
        }
    });
    let compounds = record.compounds.iter().map(|compound| {
        let (field, name) = (&compound.field, &compound.name);
        let doc = format!("The tokens of the compound index `{name}`.");
        quote!(#[doc = #doc] #visibility #field: #phi::IndexSlots,)
    });
    let doc = format!(
        "The sealed twin of [`{}`]: what may be stored.",
        record.name.unraw()
    );
    let head = record.whole.then(|| {
        let head = head();
        quote! {
            /// The head, without which no sealed field opens.
            #visibility #head: #phi::RecordHead,
        }
    });
    quote! {
        #[doc = #doc]
        #[derive(Debug, Clone, PartialEq)]
        #[allow(dead_code, reason = "a twin need not be taken apart by hand")]
        #visibility struct #twin { #(#fields)* #(#compounds)* #head }
    }
}

fn head() -> Ident {
    format_ident!("{HEAD}")
}

fn present(presence: Presence, ty: TokenStream) -> TokenStream {
    match presence {
        Presence::Always => ty,
        Presence::Optional => quote!(::core::option::Option<#ty>),
    }
}

fn implementation(record: &Record) -> TokenStream {
    let (name, twin, krate, phi) = (&record.name, twin_name(record), &record.krate, phi(record));
    let (schema, row) = (schema(record), row(record));
    let (seal, open) = (seal(record), open(record));
    quote! {
        #[automatically_derived]
        impl #phi::PhiRecord for #name {
            type Sealed = #twin;

            const SCHEMA: &'static #phi::PhiSchema = &#schema;

            fn row(&self) -> #krate::id::RowId {
                self.#row
            }

            fn seal_fields(
                self,
                __cipher: &mut dyn #phi::FieldSealer,
            ) -> ::core::result::Result<#twin, #krate::port::SealError> {
                #seal
            }

            fn open_fields(
                __sealed: #twin,
                __cipher: &mut dyn #phi::FieldOpener,
            ) -> ::core::result::Result<Self, #krate::port::SealError> {
                #open
            }
        }
    }
}

fn row(record: &Record) -> &Ident {
    let row = record
        .fields
        .iter()
        .find(|field| matches!(field.kind, Kind::Row));
    // Reading the record refused one without a row.
    row.map_or(&record.name, |field| &field.name)
}

fn schema(record: &Record) -> TokenStream {
    let phi = phi(record);
    let (own, table) = (record.name.unraw().to_string(), &record.table);
    let mode = format_ident!("{}", if record.whole { "Whole" } else { "Fields" });
    let fields = record.fields.iter().map(|field| {
        let (name, column) = (field.name.unraw().to_string(), &field.column);
        let (sealing, indexes): (_, &[Index]) = match &field.kind {
            Kind::Sealed(sealed) => {
                let sealing = sealing(&phi, &sealed.sealing);
                (
                    quote!(::core::option::Option::Some(#sealing)),
                    &sealed.indexes,
                )
            }
            Kind::Row | Kind::Plain => (quote!(::core::option::Option::None), &[]),
        };
        let constants = indexes.iter().map(|index| &index.constant);
        quote! {
            #phi::PhiField {
                name: #name,
                column: #phi::Column::new(#column),
                sealing: #sealing,
                indexes: &[#(Self::#constants),*],
            }
        }
    });
    let compounds = record.compounds.iter().map(|compound| &compound.constant);
    quote! {
        #phi::PhiSchema {
            name: #own,
            table: #phi::Table::new(#table),
            mode: #phi::RecordMode::#mode,
            fields: &[#(#fields),*],
            compounds: &[#(Self::#compounds),*],
        }
    }
}

/// A `FieldSealing` constant.
fn sealing(phi: &TokenStream, sealing: &Sealing) -> TokenStream {
    let suite = match sealing.suite {
        Suite::Standard => quote!(Standard),
        Suite::Compact => quote!(Compact),
        Suite::Deterministic => quote!(Deterministic),
    };
    let bind = match sealing.by_column {
        true => quote!(Column),
        false => quote!(Row),
    };
    let (pad, cardinality) = (sealing.pad, sealing.cardinality);
    quote! {
        #phi::FieldSealing {
            suite: #phi::Suite::#suite,
            pad: #pad,
            bind: #phi::Binding::#bind,
            cardinality: #cardinality,
        }
    }
}

/// The call that seals or opens one field.
fn call(
    record: &Record,
    field: &Field,
    sealed: &SealedField,
    verb: &Verb,
    bytes: &TokenStream,
) -> TokenStream {
    let phi = phi(record);
    let (table, column, row) = (&record.table, &field.column, row(record));
    let how = sealing(&phi, &sealed.sealing);
    let column = quote!(const { #phi::Column::new(#column) });
    let (method, whole, parts) = (&verb.method, &verb.whole, &verb.parts);
    if record.whole {
        return quote!(#phi::#whole::#method(&mut *__record, const { #how }, #column, #bytes));
    }
    quote! {
        #phi::#parts::#method(
            &mut *__cipher,
            const { #how },
            &#phi::Cell::new(
                const { #phi::Table::new(#table) },
                #column,
                #phi::Row::id(#row),
            ),
            #bytes,
        )
    }
}

/// What the generated code calls.
struct Verb {
    method: Ident,
    /// The trait of a record that is sealed as a whole.
    whole: Ident,
    /// The trait of one that is sealed by fields.
    parts: Ident,
}

impl Verb {
    fn seal() -> Self {
        Self {
            method: format_ident!("seal"),
            whole: format_ident!("RecordSealer"),
            parts: format_ident!("FieldSealer"),
        }
    }

    fn open() -> Self {
        Self {
            method: format_ident!("open"),
            whole: format_ident!("RecordOpener"),
            parts: format_ident!("FieldOpener"),
        }
    }
}

/// Begins a record that is sealed as a whole.
fn begin(record: &Record, parts: &Ident, head: TokenStream) -> TokenStream {
    if !record.whole {
        return quote!();
    }
    let (phi, row, table) = (phi(record), row(record), &record.table);
    quote! {
        let __row = #phi::Row::id(#row);
        let mut __record =
            #phi::#parts::record(&mut *__cipher, const { #phi::Table::new(#table) }, &__row, #head)?;
    }
}

fn seal(record: &Record) -> TokenStream {
    let (twin, phi, verb) = (twin_name(record), phi(record), Verb::seal());
    let begin = begin(record, &verb.parts, quote!());
    let steps = sealed_fields(record).map(|(field, sealed)| {
        let name = &field.name;
        let call = call(record, field, sealed, &verb, &quote!(&__plain));
        let body = seal_one(&phi, &record.krate, sealed, &call);
        let names = std::iter::once(name).chain(sealed.indexes.iter().map(|index| &index.field));
        let names: Vec<&Ident> = names.collect();
        match sealed.presence {
            Presence::Always => quote! {
                let (#(#names,)*) = { let __value = #name; #body };
            },
            Presence::Optional => {
                let slots: Vec<&Ident> = sealed.indexes.iter().map(|index| &index.field).collect();
                let empty = slots.iter().map(|_| quote!(#phi::IndexSlots::default()));
                quote! {
                    let (#(#names,)*) = match #name {
                        ::core::option::Option::None => {
                            (::core::option::Option::None, #(#empty,)*)
                        }
                        ::core::option::Option::Some(__value) => {
                            let (#(#names,)*) = { #body };
                            (::core::option::Option::Some(#name), #(#slots,)*)
                        }
                    };
                }
            }
        }
    });
    let taken = record.fields.iter().map(|field| &field.name);
    let compounds = record
        .compounds
        .iter()
        .map(|compound| seal_compound(record, compound));
    let given = twin_fields(record);
    let head = record.whole.then(|| {
        let head = head();
        quote!(#head: #phi::RecordSealer::head(&*__record),)
    });
    quote! {
        let Self { #(#taken),* } = self;
        #(#compounds)*
        #begin
        #(#steps)*
        ::core::result::Result::Ok(#twin { #(#given,)* #head })
    }
}

/// The tuple of `value`'s ciphertext and tokens.
fn seal_one(
    phi: &TokenStream,
    krate: &Path,
    sealed: &SealedField,
    call: &TokenStream,
) -> TokenStream {
    let ty = &sealed.value;
    let tokens = sealed.indexes.iter().map(|index| {
        let constant = &index.constant;
        quote! {
            match <#ty as #phi::PhiValue>::search_text(__value.expose()) {
                ::core::option::Option::Some(__text) => {
                    #phi::FieldSealer::index(&mut *__cipher, &Self::#constant, &[&*__text])?
                }
                ::core::option::Option::None => {
                    return ::core::result::Result::Err(#krate::port::SealError::Unsupported);
                }
            }
        }
    });
    quote! {
        let __value: #phi::Phi<#ty> = __value;
        let mut __plain = ::core::default::Default::default();
        <#ty as #phi::PhiValue>::write(__value.expose(), &mut __plain);
        let __bytes = #call?;
        (#phi::Sealed::<#ty>::from_bytes(__bytes), #(#tokens,)*)
    }
}

/// The slots of a compound index, while its fields are still plain: empty unless all are there.
fn seal_compound(record: &Record, compound: &Compound) -> TokenStream {
    let (phi, krate) = (phi(record), &record.krate);
    let (slots, constant) = (&compound.field, &compound.constant);
    let names = (0..compound.parts.len()).map(|number| format_ident!("__part_{number}"));
    let names: Vec<Ident> = names.collect();
    let values = members(record, compound).map(|(field, sealed, _)| {
        let (name, ty) = (&field.name, &sealed.value);
        match sealed.presence {
            Presence::Always => quote! {
                ::core::option::Option::Some::<&#phi::Phi<#ty>>(&#name)
            },
            Presence::Optional => quote! {
                ::core::option::Option::as_ref(&#name)
            },
        }
    });
    let types = members(record, compound).map(|(_, sealed, _)| &sealed.value);
    quote! {
        let #slots = match (#(#values,)*) {
            (#(::core::option::Option::Some(#names),)*) => match (
                #(<#types as #phi::PhiValue>::search_text(#phi::Phi::expose(#names)),)*
            ) {
                (#(::core::option::Option::Some(#names),)*) => #phi::FieldSealer::index(
                    &mut *__cipher,
                    &Self::#constant,
                    &[#(&*#names),*],
                )?,
                _ => return ::core::result::Result::Err(#krate::port::SealError::Unsupported),
            },
            _ => #phi::IndexSlots::default(),
        };
    }
}

fn open(record: &Record) -> TokenStream {
    let (twin, phi, verb) = (twin_name(record), phi(record), Verb::open());
    let head = head();
    let begin = begin(record, &verb.parts, quote!(&#head));
    let head = record.whole.then(|| quote!(#head,));
    let steps = sealed_fields(record).map(|(field, sealed)| {
        let (name, ty) = (&field.name, &sealed.value);
        let call = call(record, field, sealed, &verb, &quote!(__bytes.as_bytes()));
        let body = quote! {
            let __plain = #call?;
            #phi::Phi::new(<#ty as #phi::PhiValue>::read(&__plain)?)
        };
        match sealed.presence {
            Presence::Always => quote!(let #name = { let __bytes = #name; #body };),
            Presence::Optional => quote! {
                let #name = match #name {
                    ::core::option::Option::None => ::core::option::Option::None,
                    ::core::option::Option::Some(__bytes) => {
                        ::core::option::Option::Some({ #body })
                    }
                };
            },
        }
    });
    let taken = record.fields.iter().map(|field| &field.name);
    let given = record.fields.iter().map(|field| &field.name);
    quote! {
        let #twin { #(#taken,)* #head .. } = __sealed;
        #begin
        #(#steps)*
        ::core::result::Result::Ok(Self { #(#given),* })
    }
}

fn twin_fields(record: &Record) -> impl Iterator<Item = &Ident> {
    let compounds = record.compounds.iter().map(|compound| &compound.field);
    let fields = record.fields.iter().flat_map(|field| {
        let indexes: &[Index] = match &field.kind {
            Kind::Sealed(sealed) => &sealed.indexes,
            Kind::Row | Kind::Plain => &[],
        };
        std::iter::once(&field.name).chain(indexes.iter().map(|index| &index.field))
    });
    fields.chain(compounds)
}
