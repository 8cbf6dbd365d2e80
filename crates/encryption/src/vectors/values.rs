//! Sealed values in the three suites, padded ones, wrapped data keys and the parts under them.

use eonpro_core::phi::Suite;
use serde::{Deserialize, Serialize};

use super::{
    Hex, OTHER, ROW, TENANT, counted, damaged, flipped, key_id, read, render, scope_of, tenant,
};
use crate::envelope::{self, Content, KeyContext, Place, scope_bytes};
use crate::material::KeyMaterial;
use crate::padding;
use crate::primitives::Primitives;
use crate::sealing_key::SealingKey;

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Value,
    Padded,
    WrappedKey,
    Part,
}

#[derive(Clone, Serialize, Deserialize)]
struct Test {
    comment: String,
    valid: bool,
    kind: Kind,
    suite: String,
    key: Hex,
    key_id: Hex,
    scope: Hex,
    purpose: String,
    table: String,
    column: String,
    row: Hex,
    /// Nonce of the compact suite; the deterministic one has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<Hex>,
    /// To which multiple it is padded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pad: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plaintext: Option<Hex>,
    /// The context of a valid value.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Hex>,
    sealed: Hex,
}

impl Test {
    fn new(suite: Suite, kind: Kind) -> Self {
        let key: [u8; 64] = counted(0x10);
        let deterministic = suite == Suite::Deterministic;
        Self {
            comment: String::new(),
            valid: true,
            kind,
            suite: suite.as_str().to_owned(),
            key: Hex::from(&key[..KeyMaterial::length(suite)]),
            key_id: Hex(vec![0x0a, 0x1d, 0xc9, 0x95]),
            scope: Hex::from(scope_bytes(&Some(tenant(TENANT)))),
            purpose: "records".to_owned(),
            table: "patients".to_owned(),
            column: "ssn".to_owned(),
            row: match deterministic {
                true => Hex::default(),
                false => Hex::from(&ROW.to_be_bytes()[..]),
            },
            salt: (!deterministic).then(|| Hex::from(&counted::<24>(0xa0)[..])),
            pad: (kind == Kind::Padded).then_some(16),
            plaintext: Some(Hex::from(&b"999-12-3456"[..])),
            context: None,
            sealed: Hex::default(),
        }
    }

    fn suite(&self) -> Suite {
        let named = |suite: &Suite| suite.as_str() == self.suite;
        Suite::ALL.into_iter().find(named).unwrap()
    }

    fn with_place<R>(&self, use_it: impl FnOnce(&Place<'_>) -> R) -> R {
        let id = key_id(&self.key_id);
        let key = KeyContext::new(self.suite(), id, &scope_of(&self.scope), &self.purpose);
        use_it(&Place {
            content: match self.kind {
                Kind::Value => Content::Value,
                Kind::Padded => Content::Padded,
                Kind::WrappedKey => Content::WrappedKey,
                Kind::Part => Content::Part,
            },
            key: &key,
            table: &self.table,
            column: &self.column,
            row: &self.row.0,
        })
    }

    fn context_bytes(&self) -> Hex {
        self.with_place(|place| place.with_context(|pieces| Hex(pieces.concat())))
    }

    fn key(&self, primitives: Primitives) -> SealingKey {
        let material = KeyMaterial::copy_from(self.suite(), &self.key.0).unwrap();
        SealingKey::new(primitives, self.suite(), &material).unwrap()
    }

    fn seal_bytes(&self, primitives: Primitives, plain: &[u8]) -> Hex {
        let salt = || {
            let salt = self.salt.as_ref().unwrap();
            Ok(salt.0.as_slice().try_into().unwrap())
        };
        let mut out = Vec::new();
        let key = self.key(primitives);
        self.with_place(|place| key.seal(place, key_id(&self.key_id), salt, plain, &mut out))
            .unwrap();
        Hex(out)
    }

    fn seal(&self, primitives: Primitives) -> Hex {
        let plain = &self.plaintext.as_ref().unwrap().0;
        match self.pad {
            None => self.seal_bytes(primitives, plain),
            Some(class) => self.seal_bytes(primitives, &padding::pad(plain, class).unwrap()),
        }
    }

    fn open(&self, primitives: Primitives) -> Option<Vec<u8>> {
        let (id, message) = envelope::split(&self.sealed.0)?;
        if id != key_id(&self.key_id) {
            return None;
        }
        let key = self.key(primitives);
        let mut plain = self.with_place(|place| key.open(place, message)).ok()?;
        if self.pad.is_some() && !padding::unpad(&mut plain) {
            return None;
        }
        Some(plain.to_vec())
    }

    /// As a valid test.
    fn sealed(mut self, comment: &str) -> Self {
        self.comment = comment.to_owned();
        self.context = Some(self.context_bytes());
        self.sealed = self.seal(Primitives::Ring);
        self
    }

    /// As one that must fail, after `change`.
    fn refused(&self, comment: &str, change: impl FnOnce(&mut Self)) -> Self {
        let mut test = self.clone();
        test.comment = comment.to_owned();
        test.valid = false;
        test.plaintext = None;
        test.context = None;
        test.salt = None;
        change(&mut test);
        test
    }
}

fn text(comment: &str, suite: Suite, kind: Kind, change: impl FnOnce(&mut Test)) -> Test {
    let mut test = Test::new(suite, kind);
    change(&mut test);
    test.sealed(comment)
}

fn plain(bytes: Vec<u8>) -> Option<Hex> {
    Some(Hex(bytes))
}

/// What a value of any suite and kind does not open for.
fn refusals(of: &Test) -> Vec<Test> {
    let mut tests: Vec<Test> = damaged(&of.sealed)
        .into_iter()
        .map(|(comment, sealed)| of.refused(comment, |test| test.sealed = sealed))
        .collect();
    tests.extend([
        of.refused("a bit of the message's first byte is flipped", |test| {
            test.sealed = flipped(&of.sealed, 5);
        }),
        of.refused("the version is 0", |test| test.sealed.0[0] = 0),
        of.refused("the prefix names another key", |test| {
            test.sealed = flipped(&of.sealed, 4);
        }),
        of.refused(
            "the prefix names another key, whose bytes are the same",
            |test| {
                test.sealed = flipped(&of.sealed, 4);
                test.key_id = flipped(&of.key_id, 3);
            },
        ),
        of.refused("another key", |test| test.key = flipped(&of.key, 0)),
        of.refused("another tenant", |test| {
            test.scope = Hex::from(scope_bytes(&Some(tenant(OTHER))));
        }),
        of.refused("another table", |test| test.table = "patient".to_owned()),
        of.refused("another column", |test| test.column = "mrn".to_owned()),
        of.refused("another row", |test| {
            test.row = Hex::from(&(ROW + 1).to_be_bytes()[..]);
        }),
        of.refused("table and column run into each other", |test| {
            test.table = "patient".to_owned();
            test.column = "sssn".to_owned();
        }),
        of.refused("only the prefix is left", |test| test.sealed.0.truncate(5)),
    ]);
    if of.kind == Kind::Value || of.kind == Kind::WrappedKey {
        tests.push(of.refused("another purpose", |test| test.purpose = "files".to_owned()));
    }
    if of.suite() == Suite::Standard {
        tests.push(of.refused("a bit of the commitment is flipped", |test| {
            test.sealed = flipped(&of.sealed, 5 + 24);
        }));
    }
    tests
}

fn suite_tests(suite: Suite) -> Vec<Test> {
    let text = |comment: &str, change: fn(&mut Test)| text(comment, suite, Kind::Value, change);
    let first = text("a short text", |_| {});
    let mut tests = vec![
        text("nothing", |test| test.plaintext = plain(Vec::new())),
        text(
            "one byte, of the system, in a table of another purpose",
            |test| {
                test.scope = Hex::from(scope_bytes(&None));
                test.purpose = "state".to_owned();
                test.table = "t".to_owned();
                test.column = "c-_0".to_owned();
                test.plaintext = plain(vec![1]);
            },
        ),
        text("bound to its column only", |test| test.row = Hex::default()),
        text("sixteen bytes", |test| {
            test.plaintext = plain(counted::<16>(0).to_vec())
        }),
    ];
    if suite == Suite::Standard {
        tests.push(text("two chunks, of which the last is empty", |test| {
            test.plaintext = plain(vec![0xa5; 16_384]);
        }));
    }
    if suite != Suite::Deterministic {
        tests.push(text("a row that is named by other bytes", |test| {
            test.row = Hex::from(&b"row 7"[..]);
        }));
    }
    tests.extend(refusals(&first));
    tests.insert(0, first);
    tests
}

fn padded_tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for suite in Suite::ALL {
        let first = text("padded to a multiple of 16", suite, Kind::Padded, |_| {});
        let unmarked = first.refused("authentic, but without a mark", |test| {
            test.salt = first.salt.clone();
            test.sealed = test.seal_bytes(Primitives::Ring, &[0; 16]);
            test.salt = None;
        });
        let not_last = first.refused("authentic, but the mark is not the last byte set", |test| {
            test.salt = first.salt.clone();
            test.sealed = test.seal_bytes(Primitives::Ring, b"a\x80\0\x01");
            test.salt = None;
        });
        let value = text("", suite, Kind::Value, |_| {});
        tests.push(first.clone());
        tests.push(text(
            "the padding is a block of its own",
            suite,
            Kind::Padded,
            |test| {
                test.plaintext = plain(counted::<16>(0x71).to_vec());
            },
        ));
        tests.push(text(
            "nothing, in a class of one byte",
            suite,
            Kind::Padded,
            |test| {
                test.plaintext = plain(Vec::new());
                test.pad = Some(1);
            },
        ));
        tests.extend([unmarked, not_last]);
        tests.push(
            first.refused("a value that was sealed without padding", |test| {
                test.sealed = value.sealed.clone();
            }),
        );
        tests.push(
            first.refused("a padded value, opened as one without padding", |test| {
                test.kind = Kind::Value;
                test.pad = None;
            }),
        );
        tests.extend(refusals(&first));
    }
    tests
}

/// A data key of a stream or document, wrapped, and a part that it seals.
fn part_tests() -> Vec<Test> {
    let data_key = counted::<32>(0xd0);
    let wrapped = text("a data key", Suite::Standard, Kind::WrappedKey, |test| {
        test.purpose = "files".to_owned();
        test.plaintext = plain(data_key.to_vec());
    });
    let part = text(
        "a part under that data key",
        Suite::Standard,
        Kind::Part,
        |test| {
            test.key = Hex::from(&data_key[..]);
            test.key_id = Hex(vec![0; 4]);
            test.purpose = String::new();
        },
    );
    let mut tests = vec![wrapped.clone(), part.clone()];
    tests.push(
        wrapped.refused("a wrapped data key, opened as a value", |test| {
            test.kind = Kind::Value;
        }),
    );
    tests.push(part.refused("a part, opened as a value", |test| test.kind = Kind::Value));
    let named = wrapped.refused("another purpose", |test| {
        test.purpose = "records".to_owned()
    });
    tests.push(named);
    tests.extend(
        refusals(&wrapped)
            .into_iter()
            .filter(|test| test.comment != "another purpose"),
    );
    tests.extend(refusals(&part));
    tests
}

pub(super) fn files() -> Vec<(&'static str, String)> {
    let suites = [
        (
            "cobblestone.json",
            "Sealed values of the standard suite, Cobblestone-256.",
            Suite::Standard,
        ),
        (
            "compact.json",
            "Sealed values of the compact suite, XAES-256-GCM.",
            Suite::Compact,
        ),
        (
            "deterministic.json",
            "Sealed values of the deterministic suite, AES-SIV.",
            Suite::Deterministic,
        ),
    ];
    let mut files: Vec<_> = suites
        .into_iter()
        .map(|(name, about, suite)| (name, render(about, suite_tests(suite))))
        .collect();
    files.push((
        "padded.json",
        render("Padded values in all suites.", padded_tests()),
    ));
    let about = "Data keys of streams and documents, wrapped, and the parts under them.";
    files.push(("parts.json", render(about, part_tests())));
    files
}

#[test]
fn every_value_comes_out_as_its_vector_says() {
    for (name, valid, refused) in [
        ("cobblestone.json", 7, 17),
        ("compact.json", 6, 16),
        ("deterministic.json", 5, 16),
        ("padded.json", 9, 58),
        ("parts.json", 2, 35),
    ] {
        let tests: Vec<Test> = read(name);
        let fit = tests.iter().filter(|test| test.valid).count();
        assert_eq!((fit, tests.len() - fit), (valid, refused), "{name}");
        for test in &tests {
            for &primitives in Primitives::ALL {
                let about = format!("{name}: {}, {primitives:?}", test.comment);
                let opened = test.open(primitives).map(Hex);
                assert_eq!(opened, test.plaintext, "{about}");
                if test.valid {
                    assert_eq!(test.context, Some(test.context_bytes()), "{about}");
                    assert_eq!(test.seal(primitives), test.sealed, "{about}");
                }
            }
        }
    }
}
