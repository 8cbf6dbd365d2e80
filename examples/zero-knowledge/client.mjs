// A client that holds its own keys: WebCrypto only, no packages, Node 18 or newer or a browser.
//
// Everything here follows docs/formats/encryption.md. The functions are the client; the part behind the
// last line of dashes only lets a program talk to it by JSON, so that a test can watch both sides.

// Node 18 has no global `crypto` yet.
const { webcrypto } = globalThis.crypto ? { webcrypto: globalThis.crypto } : await import("node:crypto");
const { subtle } = webcrypto;
const random = (length) => webcrypto.getRandomValues(new Uint8Array(length));

const text = new TextEncoder();
const SUITE = "Cobblestone-256";
const LABEL = text.encode("c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0");
const SALT = 24;
const COMMITMENT = 32;
const CHUNK = 16384;
const TAG = 16;

// ---- bytes ------------------------------------------------------------------------------------

const utf8 = (part) => (typeof part === "string" ? text.encode(part) : part);

function concat(...parts) {
  const all = parts.map(utf8);
  const out = new Uint8Array(all.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of all) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function integer(value, length, littleEndian) {
  const out = new Uint8Array(length);
  let rest = BigInt(value);
  for (let n = 0; n < length; n += 1) {
    out[littleEndian ? n : length - 1 - n] = Number(rest & 255n);
    rest >>= 8n;
  }
  return out;
}

const u32be = (value) => integer(value, 4, false);

/** The pre-authentication encoding: no two lists of parts have the same bytes. */
function pae(...parts) {
  const all = parts.map(utf8);
  return concat(
    integer(all.length, 8, true),
    ...all.flatMap((part) => [integer(part.length, 8, true), part]),
  );
}

/** Takes the same time wherever the difference lies. */
function equal(one, other) {
  let difference = one.length ^ other.length;
  for (let n = 0; n < one.length; n += 1) difference |= one[n] ^ (other[n] ?? 0);
  return difference === 0;
}

// ---- keys -------------------------------------------------------------------------------------

async function hmac(hash, key, message) {
  const usable = await subtle.importKey("raw", key, { name: "HMAC", hash }, false, ["sign"]);
  return new Uint8Array(await subtle.sign("HMAC", usable, message));
}

/**
 * HKDF-Expand with SHA-512 (RFC 5869, section 2.3): T(n) = HMAC(key, T(n - 1) || info || n).
 *
 * WebCrypto's own HKDF extracts first and always; Cobblestone-256 expands the key itself. So the
 * expansion is put together from the HMAC that WebCrypto has.
 */
async function expand(key, info, length) {
  let block = new Uint8Array(0);
  let out = new Uint8Array(0);
  for (let n = 1; out.length < length; n += 1) {
    block = await hmac("SHA-512", key, concat(block, info, Uint8Array.of(n)));
    out = concat(out, block);
  }
  return out.slice(0, length);
}

/** The AES key, the base nonce and the commitment of one message. */
async function messageKey(key, salt, context) {
  const derived = await expand(key, concat(LABEL, salt, context), 32 + 12 + COMMITMENT);
  const aes = await subtle.importKey("raw", derived.slice(0, 32), "AES-GCM", false, [
    "encrypt",
    "decrypt",
  ]);
  return { aes, base: derived.slice(32, 44), commitment: derived.slice(44) };
}

/** base nonce XOR chunk number, which is a big-endian integer of 12 bytes. */
function nonce(base, number) {
  return integer(number, 12, false).map((byte, n) => byte ^ base[n]);
}

// ---- Cobblestone-256 --------------------------------------------------------------------------

export async function sealMessage(key, context, plaintext) {
  const salt = random(SALT);
  const { aes, base, commitment } = await messageKey(key, salt, context);
  const out = [salt, commitment];
  for (let n = 0; ; n += 1) {
    const chunk = plaintext.slice(n * CHUNK, (n + 1) * CHUNK);
    const algorithm = { name: "AES-GCM", iv: nonce(base, n) };
    out.push(new Uint8Array(await subtle.encrypt(algorithm, aes, chunk)));
    // The last chunk is the one that is shorter than the others, even if it is empty.
    if (chunk.length < CHUNK) return concat(...out);
  }
}

export async function openMessage(key, context, message) {
  if (message.length < SALT + COMMITMENT + TAG) throw new Error("does not open");
  const { aes, base, commitment } = await messageKey(key, message.slice(0, SALT), context);
  // Before anything is decrypted: it ties the message to one key and one context.
  if (!equal(commitment, message.slice(SALT, SALT + COMMITMENT))) throw new Error("does not open");
  const body = message.slice(SALT + COMMITMENT);
  const out = [];
  for (let n = 0; ; n += 1) {
    const chunk = body.slice(n * (CHUNK + TAG), (n + 1) * (CHUNK + TAG));
    try {
      const algorithm = { name: "AES-GCM", iv: nonce(base, n) };
      out.push(new Uint8Array(await subtle.decrypt(algorithm, aes, chunk)));
    } catch {
      throw new Error("does not open");
    }
    if (chunk.length < CHUNK + TAG) return concat(...out);
  }
}

// ---- values -----------------------------------------------------------------------------------

/** A key that never leaves this client, but wrapped for recovery. An id of 0 names no key. */
export function makeKey() {
  for (;;) {
    const id = new DataView(random(4).buffer).getUint32(0);
    if (id !== 0) return { id, bytes: random(32) };
  }
}

const prefix = (id) => concat(Uint8Array.of(1), u32be(id));

/** `place`: tenant and row are UUIDs of 16 bytes; purpose, table and column are texts. */
function context(id, place) {
  const { tenant, purpose, table, column, row } = place;
  const suite = concat(SUITE, prefix(id));
  return pae("eonpro/phi/v1", suite, tenant, purpose, table, column, row);
}

export async function sealValue(key, place, plaintext) {
  const message = await sealMessage(key.bytes, context(key.id, place), plaintext);
  return concat(prefix(key.id), message);
}

export async function openValue(key, place, value) {
  if (!equal(value.slice(0, 5), prefix(key.id))) throw new Error("does not open");
  return openMessage(key.bytes, context(key.id, place), value.slice(5));
}

/** A blind index token of digits: what the server may compare, and all that it may. */
export async function digitsToken(searchKey, index, value) {
  const { tenant, table, column, name, version, bits } = index;
  const info = pae("eonpro/index/v1", tenant, table, column, name, Uint8Array.of(version));
  const key = await expand(searchKey.bytes, info, 32);
  const digits = value.replace(/[^0-9]/g, "");
  const mac = await hmac("SHA-256", key, pae("digits", Uint8Array.of(1), digits));
  return concat(Uint8Array.of(version), mac.slice(0, bits / 8));
}

// ---- recovery ---------------------------------------------------------------------------------

const recoveryContext = (tenant, purpose, id) => pae("eonpro/recovery/v1", tenant, purpose, u32be(id));

export function wrapForRecovery(recoveryKey, tenant, purpose, key) {
  return sealMessage(recoveryKey, recoveryContext(tenant, purpose, key.id), key.bytes);
}

export async function recover(recoveryKey, tenant, purpose, id, wrapped) {
  return { id, bytes: await openMessage(recoveryKey, recoveryContext(tenant, purpose, id), wrapped) };
}

// ---- the program ------------------------------------------------------------------------------
// One JSON object on the standard input names what to do, one on the standard output answers. Bytes
// are hexadecimal. `keychain` stands for the store of the client's device.

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const unhex = (digits) => Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16));

const keyOut = (key) => ({ id: key.id, bytes: hex(key.bytes) });
const keyIn = (key) => ({ id: key.id, bytes: unhex(key.bytes) });
const placeIn = (place) => ({ ...place, tenant: unhex(place.tenant), row: unhex(place.row) });
const indexIn = (index) => ({ ...index, tenant: unhex(index.tenant) });

const actions = {
  /** Makes keys, seals, computes tokens, wraps for recovery. `upload` is all that the server gets. */
  async begin({ recoveryKey, rows, index }) {
    const [key, searchKey] = [makeKey(), makeKey()];
    const upload = { rows: [], keys: [] };
    for (const { place, plaintext } of rows) {
      const sealed = await sealValue(key, placeIn(place), text.encode(plaintext));
      const token = await digitsToken(searchKey, indexIn(index), plaintext);
      upload.rows.push({ row: place.row, sealed: hex(sealed), token: hex(token) });
    }
    const tenant = unhex(index.tenant);
    for (const [purpose, wrap] of [["records", key], ["search", searchKey]]) {
      const wrapped = await wrapForRecovery(unhex(recoveryKey), tenant, purpose, wrap);
      upload.keys.push({ purpose, id: wrap.id, wrapped: hex(wrapped) });
    }
    return { upload, keychain: { key: keyOut(key), searchKey: keyOut(searchKey) } };
  },

  /** The token of what is looked for. */
  async query({ keychain, index, value }) {
    return { token: hex(await digitsToken(keyIn(keychain.searchKey), indexIn(index), value)) };
  },

  /** Opens one value; `opened` is null if it does not open. */
  async open({ keychain, place, sealed }) {
    try {
      const plain = await openValue(keyIn(keychain.key), placeIn(place), unhex(sealed));
      return { opened: new TextDecoder().decode(plain) };
    } catch {
      return { opened: null };
    }
  },

  /** Gets a lost key back. */
  async recover({ recoveryKey, tenant, purpose, id, wrapped }) {
    const key = await recover(unhex(recoveryKey), unhex(tenant), purpose, id, unhex(wrapped));
    return { key: keyOut(key) };
  },
};

if (globalThis.process?.argv[2] === "--json") {
  let asked = "";
  for await (const part of process.stdin) asked += part;
  const request = JSON.parse(asked);
  process.stdout.write(JSON.stringify(await actions[request.do](request)));
}
