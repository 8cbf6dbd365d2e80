//! What the derive writes.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt as _;
use syn::{Ident, Path};

use crate::compound::Compound;
use crate::record::{Field, Index, Kind, Presence, Record, SealedField};
use crate::rule::Rule;

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
    quote! {
        #[doc = #doc]
        #[derive(Debug, Clone, PartialEq)]
        #[allow(dead_code, reason = "a twin need not be taken apart by hand")]
        #visibility struct #twin { #(#fields)* #(#compounds)* }
    }
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
                __sealer: &mut dyn #phi::FieldSealer,
            ) -> ::core::result::Result<#twin, #krate::port::SealError> {
                #seal
            }

            fn open_fields(
                __sealed: #twin,
                __opener: &mut dyn #phi::FieldOpener,
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
    let fields = record.fields.iter().map(|field| {
        let (name, column) = (field.name.unraw().to_string(), &field.column);
        let (sealed, indexes): (bool, &[Index]) = match &field.kind {
            Kind::Sealed(sealed) => (true, &sealed.indexes),
            Kind::Row | Kind::Plain => (false, &[]),
        };
        let constants = indexes.iter().map(|index| &index.constant);
        quote! {
            #phi::PhiField {
                name: #name,
                column: #phi::Column::new(#column),
                sealed: #sealed,
                indexes: &[#(Self::#constants),*],
            }
        }
    });
    let compounds = record.compounds.iter().map(|compound| &compound.constant);
    quote! {
        #phi::PhiSchema {
            name: #own,
            table: #phi::Table::new(#table),
            fields: &[#(#fields),*],
            compounds: &[#(Self::#compounds),*],
        }
    }
}

fn cell(phi: &TokenStream, record: &Record, field: &Field, row: &TokenStream) -> TokenStream {
    let (table, column) = (&record.table, &field.column);
    quote! {
        #phi::Cell::new(
            const { #phi::Table::new(#table) },
            const { #phi::Column::new(#column) },
            #phi::Row::id(#row),
        )
    }
}

fn seal(record: &Record) -> TokenStream {
    let (twin, phi, row) = (twin_name(record), phi(record), row(record));
    let steps = sealed_fields(record).map(|(field, sealed)| {
        let name = &field.name;
        let cell = cell(&phi, record, field, &quote!(#row));
        let body = seal_one(&phi, &record.krate, sealed, &cell);
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
    quote! {
        let Self { #(#taken),* } = self;
        #(#compounds)*
        #(#steps)*
        ::core::result::Result::Ok(#twin { #(#given),* })
    }
}

/// The tuple of `value`'s ciphertext and tokens.
fn seal_one(
    phi: &TokenStream,
    krate: &Path,
    sealed: &SealedField,
    cell: &TokenStream,
) -> TokenStream {
    let ty = &sealed.value;
    let tokens = sealed.indexes.iter().map(|index| {
        let constant = &index.constant;
        quote! {
            match <#ty as #phi::PhiValue>::search_text(__value.expose()) {
                ::core::option::Option::Some(__text) => {
                    #phi::FieldSealer::index(&mut *__sealer, &Self::#constant, &[&*__text])?
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
        let __bytes = #phi::FieldSealer::seal(&mut *__sealer, &#cell, &__plain)?;
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
                    &mut *__sealer,
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
    let (twin, phi, row) = (twin_name(record), phi(record), row(record));
    let steps = sealed_fields(record).map(|(field, sealed)| {
        let (name, ty) = (&field.name, &sealed.value);
        let cell = cell(&phi, record, field, &quote!(#row));
        let body = quote! {
            let __plain = #phi::FieldOpener::open(&mut *__opener, &#cell, __bytes.as_bytes())?;
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
        let #twin { #(#taken,)* .. } = __sealed;
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
