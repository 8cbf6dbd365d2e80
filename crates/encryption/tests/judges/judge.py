"""Judges the formats of eonpro-encryption with code of others.

Written from docs/formats/encryption.md. The cryptography is that of two packages: `cryptography` (Cobblestone-256, AES-GCM,
HKDF, Argon2id) and `tink` (XAES-256-GCM and AES-SIV, from keysets in Tink's JSON).

    judge.py vectors FOLDER        checks every file of docs/formats/vectors that it knows, and prints how many tests ran
    judge.py fresh IN OUT          opens what a Rust test sealed under fresh keys, and seals for it
    judge.py make OUT              lets Tink make keysets of two keys and a destroyed one, and seals under each
"""

import base64
import hmac
import json
import pathlib
import sys
from uuid import UUID

import tink
from cryptography import cobblestone
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tink import aead, daead, json_proto_keyset_format, secret_key_access
from tink.proto import aes_siv_pb2

SUITES = {"standard": b"Cobblestone-256", "compact": b"XAES-256-GCM", "deterministic": b"AES-SIV"}
LABELS = {
    "value": b"eonpro/phi/v1",
    "padded": b"eonpro/padded/v1",
    "wrapped-key": b"eonpro/wrap/v1",
    "part": b"eonpro/part/v1",
}
TYPES = "type.googleapis.com/"
URLS = {
    "standard": TYPES + "eonpro.Cobblestone256Key",
    "compact": TYPES + "google.crypto.tink.XAesGcmKey",
    "deterministic": TYPES + "google.crypto.tink.AesSivKey",
}


class Refused(Exception):
    """What was sealed does not open."""


def pae(*parts):
    out = len(parts).to_bytes(8, "little")
    for part in parts:
        out += len(part).to_bytes(8, "little") + part
    return out


def expand(key, info, length):
    return HKDFExpand(algorithm=SHA512(), length=length, info=info).derive(key)


def b64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def unpad(padded):
    plain = padded.rstrip(b"\0")
    if not plain.endswith(b"\x80"):
        raise Refused("no padding")
    return plain[:-1]


def pad(plain, multiple):
    return plain + b"\x80" + bytes(-(len(plain) + 1) % multiple)


def split(sealed, key_id):
    if len(sealed) < 5 or sealed[0] != 1 or sealed[1:5] != key_id:
        raise Refused("no prefix of this key")
    return sealed[:5], sealed[5:]


def open_cobblestone(key, context, message):
    try:
        opener = cobblestone.Cobblestone256Decryptor(key, context)
        return opener.update(message) + opener.finalize()
    except Exception as error:
        raise Refused(repr(error)) from error


def seal_cobblestone(key, context, plain):
    sealer = cobblestone.Cobblestone256Encryptor(key, context)
    return sealer.update(plain) + sealer.finalize()


def xaes_gcm_key():
    """The class of XAesGcmKey {version = 1, params {salt_size = 1} = 2, key_value = 3}, which the package does not bring."""
    file = descriptor_pb2.FileDescriptorProto(name="xaes_gcm.proto", package="google.crypto.tink", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    params = file.message_type.add(name="XAesGcmParams")
    params.field.add(name="salt_size", number=1, type=kinds.TYPE_UINT32, label=kinds.LABEL_OPTIONAL)
    key = file.message_type.add(name="XAesGcmKey")
    key.field.add(name="version", number=1, type=kinds.TYPE_UINT32, label=kinds.LABEL_OPTIONAL)
    key.field.add(name="params", number=2, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_OPTIONAL,
                  type_name=".google.crypto.tink.XAesGcmParams")
    key.field.add(name="key_value", number=3, type=kinds.TYPE_BYTES, label=kinds.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("google.crypto.tink.XAesGcmKey"))


XAesGcmKey = xaes_gcm_key()


def keyset(suite, keys, primary):
    """Tink's JSON of keys in clear, by their ids."""
    def message(key):
        if suite == "compact":
            return XAesGcmKey(params={"salt_size": 12}, key_value=key).SerializeToString()
        return aes_siv_pb2.AesSivKey(key_value=key).SerializeToString()

    def entry(key_id, key):
        return {
            "keyData": {
                "typeUrl": URLS[suite],
                "value": base64.b64encode(message(key)).decode(),
                "keyMaterialType": "SYMMETRIC",
            },
            "status": "ENABLED",
            "keyId": key_id,
            "outputPrefixType": "TINK",
        }

    return json.dumps({"primaryKeyId": primary, "key": [entry(*pair) for pair in keys.items()]})


def tink_primitive(suite, text):
    handle = json_proto_keyset_format.parse(text, secret_key_access.TOKEN)
    return handle.primitive(daead.DeterministicAead if suite == "deterministic" else aead.Aead)


def tink_open(suite, text, sealed, context):
    primitive = tink_primitive(suite, text)
    open_it = primitive.decrypt_deterministically if suite == "deterministic" else primitive.decrypt
    try:
        return open_it(sealed, context)
    except tink.TinkError as error:
        raise Refused(repr(error)) from error


def tink_seal(suite, text, plain, context):
    primitive = tink_primitive(suite, text)
    seal_it = primitive.encrypt_deterministically if suite == "deterministic" else primitive.encrypt
    return seal_it(plain, context)


def value_context(kind, suite, prefix, scope, purpose, table, column, row):
    return pae(LABELS[kind], SUITES[suite] + prefix, scope, purpose.encode(), table.encode(), column.encode(), row)


def open_value(test):
    suite, key = test["suite"], test["key"]
    prefix, message = split(test["sealed"], test["key_id"])
    place = (test["scope"], test["purpose"], test["table"], test["column"], test["row"])
    context = value_context(test["kind"], suite, prefix, *place)
    if test.get("context") not in (None, context):
        raise AssertionError("another context")
    if suite == "standard":
        plain = open_cobblestone(key, context, message)
    else:
        # Tink wants the prefix, which is its own, and finds the key by it.
        key_id = int.from_bytes(test["key_id"], "big")
        plain = tink_open(suite, keyset(suite, {key_id: key}, key_id), test["sealed"], context)
    return unpad(plain) if test["kind"] == "padded" else plain


class Record:
    """The key of a record that is sealed as a whole."""

    def __init__(self, key, prefix, salt, scope, purpose, table, row):
        suite = SUITES["standard"] + prefix
        self.context = pae(b"eonpro/record/v1", suite, scope, purpose.encode(), table.encode(), b"", row)
        derived = expand(key, self.context + salt, 76)
        self.aes, self.base = AESGCM(derived[:32]), int.from_bytes(derived[32:44], "big")
        self.head = prefix + salt + derived[44:]

    def _nonce_and_aad(self, number, column, padded):
        aad = pae(b"eonpro/field/v1", column.encode(), b"padded" if padded else b"plain")
        return (self.base ^ number).to_bytes(12, "big"), aad

    def seal(self, number, column, multiple, plain):
        nonce, aad = self._nonce_and_aad(number, column, multiple)
        return bytes([number]) + self.aes.encrypt(nonce, pad(plain, multiple) if multiple else plain, aad)

    def open(self, column, padded, sealed):
        if not sealed:
            raise Refused("no number")
        nonce, aad = self._nonce_and_aad(sealed[0], column, padded)
        try:
            plain = self.aes.decrypt(nonce, sealed[1:], aad)
        except Exception as error:
            raise Refused(repr(error)) from error
        return unpad(plain) if padded else plain


def open_record(key, key_id, head, place):
    prefix, rest = split(head, key_id)
    record = Record(key, prefix, rest[:24], *place)
    if not hmac.compare_digest(record.head, head):
        raise Refused("another key, another place, or changed bytes")
    return record


def open_whole(test):
    place = (test["scope"], test["purpose"], test["table"], test["row"])
    record = open_record(test["key"], test["key_id"], test["head"], place)
    if test.get("context") not in (None, record.context):
        raise AssertionError("another context")
    return [record.open(field["column"], field.get("pad"), field["sealed"]) for field in test["fields"]]


def unwrap_data_key(test):
    epoch = test["epoch"].to_bytes(8, "big")
    context = pae(b"eonpro/dek/v1", test["scope"], test["role"].encode(), epoch, test["id"], test["kek_id"])
    if test.get("context") not in (None, context):
        raise AssertionError("another context")
    suffix = {"standard": "", "compact": "+compact", "deterministic": "+deterministic"}.get(test.get("suite"), "")
    if not test["role"].endswith(suffix) or (test.get("suite") == "standard" and "+" in test["role"]):
        raise AssertionError("role and suite disagree")
    key = open_cobblestone(test["kek"], context, test["wrapped"])
    if len(key) != (64 if test["role"].endswith("+deterministic") else 32):
        raise Refused("another length")
    return key


def unwrap_kek(root_id, root, test):
    context = pae(b"eonpro/kek/v1", root_id.encode(), test["scope"], test["id"])
    return open_cobblestone(root, context, test["wrapped"])


def unwrap_from_key_file(test):
    file = test["key_file"]
    assert (file["format"], file["version"]) == ("eonpro-key-file", 1)
    return unwrap_kek(file["id"], b64(file["key"]), test)


def unwrap_from_keyring(test):
    ring, kdf = test["keyring"], test["keyring"]["kdf"]
    if (ring["format"], ring["version"], kdf["algorithm"], kdf["version"]) != ("eonpro-keyring", 1, "argon2id", 19):
        raise Refused("not known")
    memory, passes, lanes = kdf["memory_kib"], kdf["passes"], kdf["lanes"]
    if not (1024 <= memory <= 1_048_576 and 1 <= passes <= 64 and 1 <= lanes <= 16):
        raise Refused("cost out of bounds")
    salt = b64(kdf["salt"])
    stretched = Argon2id(salt=salt, length=32, memory_cost=memory, iterations=passes, lanes=lanes)
    numbers = [number.to_bytes(4, "big") for number in (memory, passes, lanes)]
    context = pae(b"eonpro/keyring/v1", ring["id"].encode(), salt, *numbers)
    root = open_cobblestone(stretched.derive(test["passphrase"].encode()), context, b64(ring["sealed"]))
    if test.get("root") not in (None, root):
        raise AssertionError("another root key")
    return unwrap_kek(ring["id"], root, test)


def mac_key(test):
    return expand(test["key"], pae(b"eonpro/mac/v1", test["scope"], test["label"].encode()), 32)


# What a file's tests give, and the member that holds what they should give.
FILES = {
    "cobblestone.json": (open_value, "plaintext"),
    "compact.json": (open_value, "plaintext"),
    "deterministic.json": (open_value, "plaintext"),
    "padded.json": (open_value, "plaintext"),
    "parts.json": (open_value, "plaintext"),
    "record.json": (open_whole, None),
    "data-key.json": (unwrap_data_key, "key"),
    "key-encryption-key.json": (unwrap_from_key_file, "key"),
    "keyring.json": (unwrap_from_keyring, "key"),
    "mac-key.json": (mac_key, "mac_key"),
}
TEXTS = {"comment", "valid", "kind", "suite", "purpose", "table", "column", "pad", "role", "epoch", "label", "passphrase",
         "keyring", "key_file"}


def parsed(test):
    """All members but texts and numbers are bytes in hexadecimal digits."""
    out = {}
    for name, value in test.items():
        if name == "fields":
            out[name] = [parsed(field) for field in value]
        else:
            out[name] = value if name in TEXTS else bytes.fromhex(value)
    return out


def check_vectors(folder):
    for name, (judge, member) in FILES.items():
        tests = json.loads((folder / name).read_text())["tests"]
        refused = 0
        for raw in tests:
            test, valid = parsed(raw), raw.get("valid", True)
            try:
                result = judge(test)
            except Refused as reason:
                assert not valid, f"{name}: {test['comment']}: {reason}"
                refused += 1
                continue
            assert valid, f"{name}: {test['comment']}: opened"
            expected = test[member] if member else [field["plaintext"] for field in test["fields"]]
            assert result == expected, f"{name}: {test['comment']}: another result"
        print(f"{name}: {len(tests) - refused} came out, {refused} refused")


def exported_keys(suite, text):
    """The keys of a keyset in clear, by their ids. The protocol buffer of a key of ours has AesSivKey's fields."""
    keys = {}
    for key in json.loads(text)["key"]:
        assert key["keyData"]["typeUrl"] == URLS[suite]
        message = aes_siv_pb2.AesSivKey.FromString(base64.b64decode(key["keyData"]["value"]))
        assert message.version == 0
        keys[key["keyId"].to_bytes(4, "big")] = message.key_value
    return keys


def fresh(given):
    """Opens what Rust sealed, and seals every value for its place again."""
    keysets = given["keysets"]
    standard = exported_keys("standard", keysets["standard"])
    primary = json.loads(keysets["standard"])["primaryKeyId"].to_bytes(4, "big")
    scope, answers = UUID(given["tenant"]).bytes, []
    for value in given["values"]:
        suite, kind, sealed = value["suite"], value["kind"], bytes.fromhex(value["sealed"])
        place = (scope, value["purpose"], value["table"], value["column"], bytes.fromhex(value["row"]))
        plain, context = bytes.fromhex(value["plaintext"]), value_context(kind, suite, sealed[:5], *place)
        content = pad(plain, value["pad"]) if kind == "padded" else plain
        if suite == "standard":
            opened = open_cobblestone(standard[sealed[1:5]], context, sealed[5:])
            prefix = b"\x01" + primary
            context = value_context(kind, suite, prefix, *place)
            again = prefix + seal_cobblestone(standard[primary], context, content)
        else:
            opened = tink_open(suite, keysets[suite], sealed, context)
            prefix = b"\x01" + json.loads(keysets[suite])["primaryKeyId"].to_bytes(4, "big")
            again = tink_seal(suite, keysets[suite], content, value_context(kind, suite, prefix, *place))
        assert opened == content, f"{suite} {kind}: another plaintext"
        answers.append(again.hex())
    return {"values": answers, "records": [fresh_record(record, standard, primary, scope) for record in given["records"]]}


def fresh_record(given, keys, primary, scope):
    place = (scope, "records", given["table"], bytes.fromhex(given["row"]))
    head = bytes.fromhex(given["head"])
    record = open_record(keys[head[1:5]], head[1:5], head, place)
    for field in given["fields"]:
        opened = record.open(field["column"], field["pad"], bytes.fromhex(field["sealed"]))
        assert opened == bytes.fromhex(field["plaintext"]), f"{field['column']}: another plaintext"
    # A salt is used once: this one only has to differ from the first.
    salt = bytes(byte ^ 0xFF for byte in head[5:29])
    again = Record(keys[primary], b"\x01" + primary, salt, *place)
    fields = [
        again.seal(number, field["column"], field["pad"], bytes.fromhex(field["plaintext"])).hex()
        for number, field in enumerate(given["fields"], 1)
    ]
    return {"head": again.head.hex(), "fields": fields}


def make():
    """Keysets that Tink made, and for each of their keys a value of `tests/it/judges.rs`, bound to its column."""
    templates = {
        "compact": aead.aead_key_templates.XAES_256_GCM_192_BIT_NONCE,
        "deterministic": daead.deterministic_aead_key_templates.AES256_SIV,
    }
    made, scope = {}, UUID("5eed0000-0000-4000-8000-000000000001").bytes
    for suite, template in templates.items():
        one, two = (
            json.loads(json_proto_keyset_format.serialize(tink.new_keyset_handle(template), secret_key_access.TOKEN))
            for _ in range(2)
        )
        keys = one["key"] + two["key"]
        sealed = []
        for key in keys:
            prefix = b"\x01" + key["keyId"].to_bytes(4, "big")
            context = value_context("value", suite, prefix, scope, "records", "patients", "ssn", b"")
            text = json.dumps({"primaryKeyId": key["keyId"], "key": [key]})
            sealed.append(tink_seal(suite, text, b"by tink", context).hex())
        # Tink's libraries write no key data of a destroyed key.
        keys.append({"status": "DESTROYED", "keyId": 7 + len(made), "outputPrefixType": "TINK"})
        both = json.dumps({"primaryKeyId": one["primaryKeyId"], "key": keys})
        tink_primitive(suite, both)
        made[suite] = {"keyset": both, "sealed": sealed}
    return made


def main():
    aead.register()
    daead.register()
    match sys.argv[1:]:
        case ["vectors", folder]:
            check_vectors(pathlib.Path(folder))
        case ["fresh", source, target]:
            answer = fresh(json.loads(pathlib.Path(source).read_text()))
            pathlib.Path(target).write_text(json.dumps(answer))
            print(f"fresh: {len(answer['values'])} values and {len(answer['records'])} records both ways")
        case ["make", target]:
            pathlib.Path(target).write_text(json.dumps(make()))
        case _:
            sys.exit(__doc__)


main()
