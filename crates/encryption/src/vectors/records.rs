//! Records sealed as a whole.

use eonpro_core::phi::{Column, FieldSealing, RecordOpener as _, RecordSealer as _, Suite};
use eonpro_core::port::SealError;
use eonpro_core::secret::KeyBytes;
use serde::{Deserialize, Serialize};

use super::{
    Hex, OTHER, ROW, TENANT, counted, damaged, flipped, key_id, read, render, scope_of, tenant,
};
use crate::cobblestone::InputKey;
use crate::envelope::{self, Content, KeyContext, Place, scope_bytes};
use crate::primitives::Primitives;
use crate::whole::{RecordKey, WholeOpener, WholeSealer};

const MAX_FIELD: usize = 1000;

#[derive(Clone, Serialize, Deserialize)]
struct Field {
    column: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<Hex>,
    sealed: Hex,
}

#[derive(Clone, Serialize, Deserialize)]
struct Test {
    comment: String,
    /// Whether head and all fields open. If not, the head or at least one field does not.
    valid: bool,
    key: Hex,
    key_id: Hex,
    scope: Hex,
    purpose: String,
    table: String,
    row: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Hex>,
    head: Hex,
    fields: Vec<Field>,
}

fn sealing(field: &Field) -> FieldSealing {
    FieldSealing {
        pad: field.pad.unwrap_or(0),
        ..FieldSealing::STANDARD
    }
}

fn column(name: &str) -> Column {
    const KNOWN: [&str; 4] = ["name", "ssn", "sex", "note"];
    Column::new(KNOWN.into_iter().find(|known| *known == name).unwrap())
}

impl Test {
    fn key(&self, primitives: Primitives) -> InputKey {
        InputKey::with(primitives, &KeyBytes::copy_from(&self.key.0).unwrap())
    }

    fn with_place<R>(&self, use_it: impl FnOnce(&Place<'_>) -> R) -> R {
        let (id, suite) = (key_id(&self.key_id), Suite::Standard);
        let key = KeyContext::new(suite, id, &scope_of(&self.scope), &self.purpose);
        use_it(&Place {
            content: Content::Record,
            key: &key,
            table: &self.table,
            column: "",
            row: &self.row.0,
        })
    }

    /// Head and fields.
    fn seal(&self, primitives: Primitives) -> (Hex, Vec<Hex>) {
        let (key, id) = (self.key(primitives), key_id(&self.key_id));
        let salt = self.salt.as_ref().unwrap();
        let salt = salt.0.as_slice().try_into().unwrap();
        let sealer = self.with_place(|place| WholeSealer::begin(&key, id, place, salt, MAX_FIELD));
        let mut sealer = sealer.unwrap();
        let fields = self.fields.iter().map(|field| {
            let plain = &field.plaintext.as_ref().unwrap().0;
            let sealed = sealer.seal(sealing(field), column(&field.column), plain);
            Hex(sealed.unwrap())
        });
        let fields = fields.collect();
        (Hex::from(sealer.head().as_bytes()), fields)
    }

    fn open(&self, primitives: Primitives) -> Option<Vec<Hex>> {
        let (id, header) = envelope::split(&self.head.0)?;
        if id != key_id(&self.key_id) {
            return None;
        }
        let key = self.key(primitives);
        let record = self.with_place(|place| RecordKey::resume(&key, id, place, header, MAX_FIELD));
        let mut opener = WholeOpener::new(record.ok()?, |_, _| SealError::Authentication);
        let fields = self.fields.iter().map(|field| {
            let opened = opener.open(sealing(field), column(&field.column), &field.sealed.0);
            opened.ok().map(|plain| Hex::from(plain.as_slice()))
        });
        fields.collect()
    }

    fn sealed(mut self) -> Self {
        let (head, sealed) = self.seal(Primitives::Ring);
        self.head = head;
        for (field, sealed) in self.fields.iter_mut().zip(sealed) {
            field.sealed = sealed;
        }
        let context = self.with_place(|place| place.with_context(|pieces| Hex(pieces.concat())));
        self.context = Some(context);
        self
    }

    fn refused(&self, comment: &str, change: impl FnOnce(&mut Self)) -> Self {
        let mut test = self.clone();
        test.comment = comment.to_owned();
        test.valid = false;
        test.salt = None;
        test.context = None;
        for field in &mut test.fields {
            field.plaintext = None;
        }
        change(&mut test);
        test
    }
}

fn field(column: &str, pad: Option<u16>, plain: &[u8]) -> Field {
    Field {
        column: column.to_owned(),
        pad,
        plaintext: Some(Hex::from(plain)),
        sealed: Hex::default(),
    }
}

fn whole(comment: &str, salt: u8, fields: Vec<Field>) -> Test {
    let test = Test {
        comment: comment.to_owned(),
        valid: true,
        key: Hex::from(&counted::<32>(0x10)[..]),
        key_id: Hex(vec![0x0a, 0x1d, 0xc9, 0x95]),
        scope: Hex::from(scope_bytes(&Some(tenant(TENANT)))),
        purpose: "records".to_owned(),
        table: "patients".to_owned(),
        row: Hex::from(&ROW.to_be_bytes()[..]),
        salt: Some(Hex::from(&counted::<24>(salt)[..])),
        context: None,
        head: Hex::default(),
        fields,
    };
    test.sealed()
}

fn tests() -> Vec<Test> {
    let fields = || {
        vec![
            field("name", None, b"Ada Lovelace"),
            field("ssn", None, b"999-12-3456"),
            field("sex", Some(16), b"F"),
            field("note", None, b""),
        ]
    };
    let one = whole("four fields, one of them padded, one empty", 0xa0, fields());
    let two = whole("the same record, sealed again", 0xb0, fields());
    let many = (0..255).map(|_| field("note", None, b"")).collect();
    let mut tests = vec![
        one.clone(),
        two.clone(),
        whole("no field", 0xc0, Vec::new()),
        whole("as many fields as there are numbers", 0xd0, many),
    ];
    tests.extend(
        damaged(&one.head)
            .into_iter()
            .map(|(what, head)| one.refused(&format!("head: {what}"), |test| test.head = head)),
    );
    tests.extend(
        damaged(&one.fields[0].sealed)
            .into_iter()
            .map(|(what, sealed)| {
                one.refused(&format!("first field: {what}"), |test| {
                    test.fields[0].sealed = sealed;
                })
            }),
    );
    tests.extend([
        one.refused("head: a bit of the salt is flipped", |test| {
            test.head = flipped(&one.head, 5);
        }),
        one.refused(
            "head: the prefix names another key, whose bytes are the same",
            |test| {
                test.head = flipped(&one.head, 4);
                test.key_id = flipped(&one.key_id, 3);
            },
        ),
        one.refused("the head of another record", |test| {
            test.head = two.head.clone()
        }),
        one.refused("a field of another record", |test| {
            test.fields[1] = Field {
                plaintext: None,
                ..two.fields[1].clone()
            };
        }),
        one.refused("two fields have changed places", |test| {
            test.fields[0].sealed = one.fields[1].sealed.clone();
            test.fields[1].sealed = one.fields[0].sealed.clone();
        }),
        one.refused("a field has another number", |test| {
            test.fields[0].sealed = flipped(&one.fields[0].sealed, 0);
        }),
        one.refused("a padded field, opened as one without padding", |test| {
            test.fields[2].pad = None;
        }),
        one.refused("a field without padding, opened as a padded one", |test| {
            test.fields[0].pad = Some(16);
        }),
        one.refused("another row", |test| {
            test.row = Hex::from(&(ROW + 1).to_be_bytes()[..]);
        }),
        one.refused("another table", |test| test.table = "patient".to_owned()),
        one.refused("another purpose", |test| test.purpose = "files".to_owned()),
        one.refused("another tenant", |test| {
            test.scope = Hex::from(scope_bytes(&Some(tenant(OTHER))));
        }),
        one.refused("another key", |test| test.key = flipped(&one.key, 0)),
    ]);
    tests
}

pub(super) fn files() -> Vec<(&'static str, String)> {
    vec![("record.json", render("Records sealed as a whole.", tests()))]
}

#[test]
fn every_record_comes_out_as_its_vector_says() {
    let tests: Vec<Test> = read("record.json");
    let valid = tests.iter().filter(|test| test.valid).count();
    assert_eq!((valid, tests.len() - valid), (4, 21));
    for test in &tests {
        for &primitives in Primitives::ALL {
            let about = format!("{}, {primitives:?}", test.comment);
            let opened = test.open(primitives);
            assert_eq!(opened.is_some(), test.valid, "{about}");
            let Some(opened) = opened else { continue };
            let plain: Option<Vec<Hex>> = test
                .fields
                .iter()
                .map(|field| field.plaintext.clone())
                .collect();
            assert_eq!(Some(opened), plain, "{about}");
            let (head, fields) = test.seal(primitives);
            assert_eq!(head, test.head, "{about}");
            let sealed: Vec<Hex> = test
                .fields
                .iter()
                .map(|field| field.sealed.clone())
                .collect();
            assert_eq!(fields, sealed, "{about}");
        }
    }
}
