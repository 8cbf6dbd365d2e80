"""Verifies published audit logs: verify.py DIR --key VKEY

DIR holds the logs as tiles and bundles below eonpro/audit/. VKEY is the verifier key of the directory log; the public
key in it signs every log, each under its own origin as the key's name. Verified are the directory log and then each
log that it names: the signed checkpoint, the tiles from the root down, the bundles against the tiles, every signed head
against the tree that it names, and the chain of the entries. Bundles of pruned entries may be gone if a later entry of
the log says so; their hashes are verified all the same.

Exit code 0: all of it verifies; a line per log says how many entries it has.
Exit code 1: something does not; one line names the first bad file, relative to DIR.
Exit code 2: DIR cannot be read, the arguments are wrong or the package cryptography is missing.
"""

import argparse
import base64
import json
import os
import re
import stat
import sys
from hashlib import sha256
from typing import NamedTuple

try:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
except ImportError:
    print("verify.py: the package cryptography is missing", file=sys.stderr)
    sys.exit(2)

AUDIT = "eonpro/audit"
DIRECTORY = f"{AUDIT}/directory"
SYSTEM = f"{AUDIT}/system"
TENANT = re.compile(AUDIT + "/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
NUMBER = re.compile("0|[1-9][0-9]{0,19}")
TIME = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z")
ED25519 = b"\x01"
WIDTH = 256
LEVELS = 8
MAX_ENTRY = 65_535
MAX_NOTE = 512 << 10
MAX_SIGNATURES = 64


class Tampered(Exception):
    """A file, named relative to the publish directory, does not verify."""

    def __init__(self, path, reason):
        super().__init__(f"{path}: {reason}")


class Missing(Tampered):
    """A file is not there."""

    def __init__(self, path):
        super().__init__(path, "missing")


class Head(NamedTuple):
    """What a checkpoint says about a log."""

    origin: str
    size: int
    root: bytes


def require(condition, reason):
    if not condition:
        raise ValueError(reason)


# Keys and signed notes: each of these functions raises ValueError for what is not as it must be.


def decode_base64(text):
    data = base64.b64decode(text, validate=True)
    require(base64.b64encode(data).decode() == text, "base64 in another spelling")
    return data


def key_id(name, public):
    return sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]


def parse_key(text):
    """The public key in the verifier key of the directory log."""
    parts = text.split("+", 2)
    require(len(parts) == 3 and parts[0] == DIRECTORY, "not a verifier key of the directory log")
    data = decode_base64(parts[2])
    require(len(data) == 33 and data[:1] == ED25519, "not an Ed25519 key")
    require(parts[1] == key_id(DIRECTORY, data[1:]).hex(), "the id of the key is wrong")
    return data[1:]


def split_note(data):
    """The text of a signed note, and its signatures as ((name, key id), signature)."""
    require(len(data) <= MAX_NOTE, "the note is too long")
    note = data.decode()
    require(all(c >= " " or c == "\n" for c in note), "control character in the note")
    text, _, tail = note.rpartition("\n\n")
    require(text and tail.endswith("\n"), "not a signed note")
    lines = tail[:-1].split("\n")
    require(len(lines) <= MAX_SIGNATURES, "too many signatures")
    signatures = []
    for line in lines:
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        require(dash == "\N{EM DASH}" and name and "+" not in name, "malformed signature line")
        require(not any(c.isspace() for c in name), "space in the name of a key")
        blob = decode_base64(encoded)
        require(len(blob) > 4, "empty signature")
        signatures.append(((name, blob[:4]), blob[4:]))
    return text + "\n", signatures


def open_checkpoint(data, public):
    """The head in a checkpoint that the key signed under the origin in it as its name."""
    text, signatures = split_note(data)
    lines = text.split("\n")
    require(len(lines) == 4, "not a checkpoint")
    origin, size, root = lines[0], lines[1], decode_base64(lines[2])
    require(origin in (DIRECTORY, SYSTEM) or TENANT.fullmatch(origin), "not the origin of an audit log")
    require(NUMBER.fullmatch(size) and int(size) < 1 << 64, "malformed size")
    require(len(root) == 32, "malformed root")
    known = (origin, key_id(origin, public))
    ours = [signature for key, signature in signatures if key == known]
    require(ours, "not signed by the key")
    try:
        for signature in ours:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, text.encode())
    except InvalidSignature:
        raise ValueError("the signature is wrong") from None
    return Head(origin, int(size), root)


# The tree


def leaf_hash(entry):
    return sha256(b"\0" + entry).digest()


def tree_root(hashes):
    """The root over one or more subtrees of the same size, of which the last may be smaller."""
    while len(hashes) > 1:
        parents = [sha256(b"\1" + left + right).digest() for left, right in zip(hashes[::2], hashes[1::2])]
        hashes = parents + hashes[2 * len(parents) :]
    return hashes[0]


def fold(partials):
    """The root of the tree with these hashes in its partial tiles, level 0 first."""
    rest = []
    for hashes in partials:
        if hashes or rest:
            rest = [tree_root(hashes + rest)]
    return rest[0] if rest else sha256().digest()


def split_size(size, level):
    """How many full tiles a tree has at a level, and how many hashes in the partial one."""
    return divmod(size >> 8 * level, WIDTH)


def open_without_waiting(path, flags):
    """An opener that does not hang on a named pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


class Log:
    """A published log as the files have it; `entries` verifies them against the head."""

    def __init__(self, base, origin):
        self.base, self.origin = base, origin

    def path(self, kind, number, width):
        groups = f"{number % 1000:03}"
        while number := number // 1000:
            groups = f"x{number % 1000:03}/{groups}"
        return f"{self.origin}/tile/{kind}/{groups}" + (f".p/{width}" if width < WIDTH else "")

    def read(self, path, limit):
        try:
            with open(os.path.join(self.base, path), "rb", opener=open_without_waiting) as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise Tampered(path, "not a regular file")
                data = stream.read(limit + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise Missing(path) from None
        if len(data) > limit:
            raise Tampered(path, "too long")
        return data

    def head(self, public):
        path = f"{self.origin}/checkpoint"
        try:
            head = open_checkpoint(self.read(path, MAX_NOTE), public)
            require(head.origin == self.origin, "the checkpoint of another log")
        except ValueError as error:
            raise Tampered(path, error) from None
        return head

    def tile(self, level, number, width=WIDTH):
        if not width:
            return []
        path = self.path(level, number, width)
        data = self.read(path, 32 * width)
        if len(data) != 32 * width:
            raise Tampered(path, "too short")
        return [data[i : i + 32] for i in range(0, len(data), 32)]

    def bundle(self, number, width):
        path = self.path("entries", number, width)
        data = self.read(path, width * (2 + MAX_ENTRY))
        entries, start = [], 0
        for _ in range(width):
            end = start + 2 + int.from_bytes(data[start : start + 2], "big")
            if len(data) < end:
                raise Tampered(path, "too short")
            entries.append(data[start + 2 : end])
            start = end
        if start != len(data):
            raise Tampered(path, "too long")
        return entries

    def partial_tiles(self, head):
        """The hashes in the partial tile of each level, which lead to the root."""
        partials = [self.tile(level, *split_size(head.size, level)) for level in range(LEVELS)]
        if fold(partials) != head.root:
            raise self.wrong_partial(head, partials)
        return partials

    def wrong_partial(self, head, partials):
        """Which partial tile keeps the others from leading to the root: the one that leads there if made anew."""
        suspects = []
        for level in reversed(range(LEVELS)):
            number, width = split_size(head.size, level)
            if not width:
                continue
            path, first = self.path(level, number, width), number * WIDTH
            try:
                if level:
                    anew = [tree_root(self.tile(level - 1, first + i)) for i in range(width)]
                else:
                    anew = [leaf_hash(entry) for entry in self.bundle(number, width)]
            except Tampered:
                anew = partials[level]
            if fold(partials[:level] + [anew] + partials[level + 1 :]) == head.root:
                return Tampered(path, "does not lead to the root")
            suspects.append((anew == partials[level], -level, path))
        path = min(suspects)[2] if suspects else f"{self.origin}/checkpoint"
        return Tampered(path, "the partial tiles do not lead to the root")

    def entries(self, head, signed):
        """Yields (path of the bundle, entry, leaf hash) for each entry once it is verified.

        Where a full bundle is missing the entries are None: whoever calls knows whether they may be.
        `signed` maps sizes to (root, path of the file that says so); these heads are verified in passing.
        """
        levels = self.partial_tiles(head)
        sizes = sorted(signed, reverse=True)
        for level in reversed(range(LEVELS)):
            full, width = split_size(head.size, level)
            partial, levels[level] = levels[level], []
            for number in range(full + 1):
                hashes = partial
                if number < full:
                    hashes = self.tile(level, number)
                    if tree_root(hashes) != levels[level + 1][number]:
                        raise Tampered(self.path(level, number, WIDTH), "does not lead to the hash above it")
                if level:
                    levels[level] += hashes
                    continue
                while sizes and sizes[-1] // WIDTH == number:
                    size = sizes.pop()
                    parts = [levels[n][split_size(size, n)[0] * WIDTH : size >> 8 * n] for n in range(1, LEVELS)]
                    root, path = signed[size]
                    if fold([hashes[: size % WIDTH]] + parts) != root:
                        raise Tampered(path, f"the root of {self.origin} at size {size} is another")
                if hashes:
                    path = self.path("entries", number, len(hashes))
                    try:
                        bundle = self.bundle(number, len(hashes))
                    except Missing:
                        if number == full:
                            raise
                        bundle = [None] * WIDTH
                    for entry, expected in zip(bundle, hashes):
                        if entry is not None and leaf_hash(entry) != expected:
                            raise Tampered(path, "an entry is not the one in the tree")
                        yield path, entry, expected


# The logs


def verify_directory(log, head, public):
    """For each log that the directory log names: its last head, and all its heads as `Log.entries` wants them."""
    last, signed = {}, {}
    for path, entry, _ in log.entries(head, {}):
        if entry is None:
            raise Missing(path)
        try:
            named = open_checkpoint(entry, public)
            require(named.origin != DIRECTORY, "the directory log names itself")
            require(named.origin not in last or last[named.origin].size <= named.size, "a log shrank")
            root, _ = signed.setdefault(named.origin, {}).setdefault(named.size, (named.root, path))
            require(root == named.root, "two roots of a log at the same size")
        except ValueError as error:
            raise Tampered(path, f"{error} (signed head)") from None
        last[named.origin] = named
    return last, signed


def verify_chain(log, head, signed):
    """Verifies the entries of a log other than the directory log, and returns how many are no longer there.

    A bundle may be gone if it ends at or before the minimum index that an AUD-009 of this log names.
    """
    tenant = TENANT.fullmatch(log.origin)
    previous, recorded = sha256(log.origin.encode()).digest(), b""
    gone, minimum = {}, 0
    for index, (path, entry, entry_hash) in enumerate(log.entries(head, signed)):
        if entry is None:
            gone[path] = index + 1
            previous = entry_hash
            continue
        time = entry[93:123]
        beginning = b'{"v":1,"prev":"%s","recorded":"%s",' % (previous.hex().encode(), time)
        if not entry.startswith(beginning) or not TIME.fullmatch(time):
            raise Tampered(path, "an entry does not begin as it must, or does not follow the one before")
        if time <= recorded:
            raise Tampered(path, "an entry was not recorded after the one before")
        try:
            members = json.loads(entry.decode())
        except (ValueError, RecursionError):
            raise Tampered(path, "an entry is not JSON") from None
        if tenant and members.get("tenant") != tenant[1]:
            raise Tampered(path, "an entry of another tenant")
        if members.get("code") == "AUD-009":
            minimum = max(minimum, members["fields"]["minimum_index"])
        previous, recorded = entry_hash, time
    for path, end in gone.items():
        if end > minimum:
            raise Missing(path)
    return len(gone) * WIDTH


def verify(base, public):
    """Verifies all logs and returns their heads and how many entries are gone, the directory log's first."""
    names = sorted(os.listdir(os.path.join(base, AUDIT)))
    directory = Log(base, DIRECTORY)
    heads = [(directory.head(public), 0)]
    last, signed = verify_directory(directory, heads[0][0], public)
    for origin, named in last.items():
        log = Log(base, origin)
        head = log.head(public)
        if head != named:
            raise Tampered(f"{origin}/checkpoint", "not the last head that the directory log has of it")
        heads.append((head, verify_chain(log, head, signed[origin])))
    for origin in (f"{AUDIT}/{name}" for name in names):
        if origin not in (DIRECTORY, *last) and os.path.exists(os.path.join(base, origin, "checkpoint")):
            raise Tampered(f"{ascii(origin)[1:-1]}/checkpoint", "the directory log does not name this log")
    return heads


def main():
    parser = argparse.ArgumentParser(description="Verifies published audit logs.")
    parser.add_argument("dir", metavar="DIR", help="the publish directory")
    parser.add_argument("--key", metavar="VKEY", required=True, help="the verifier key of the directory log")
    arguments = parser.parse_args()
    try:
        heads = verify(arguments.dir, parse_key(arguments.key))
    except Tampered as error:
        print(f"tampered: {error}")
        return 1
    except (OSError, ValueError) as error:
        print(f"verify.py: {ascii(str(error))[1:-1]}", file=sys.stderr)
        return 2
    for head, gone in heads:
        rest = f", {gone} no longer published" if gone else ""
        print(f"{head.origin}: {head.size - gone} entries verified{rest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
