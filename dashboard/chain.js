// The hash chain of the ledger and the signatures of receipts, verified from the bytes that control sends.

const encoder = new TextEncoder();
const END = /,"previous":"sha256:([0-9a-f]{64})","hash":"sha256:([0-9a-f]{64})"\}$/;
const GENESIS = "0".repeat(64);

/** @typedef {{events: number, head: string, fault: string}} Found */

/** @param {string} hex */
const unhex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
/** @param {ArrayBuffer} bytes */
const hex = (bytes) => Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** @param {number} number */
function eight(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(number));
  return bytes;
}

/** @param {Uint8Array[]} parts */
function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A text with its length before it, as it is hashed. @param {string} text */
function measured(text) {
  const bytes = encoder.encode(text);
  return [eight(bytes.length), bytes];
}

/**
 * The hash of an event: SHA-256 over `hornero event 1\n`, the hash before it, its number, time, who, why, commit and body.
 * The body is what stands in the line, byte for byte.
 * @param {string} line
 */
async function eventHash(line) {
  const end = END.exec(line);
  const begin = line.indexOf(',"body":');
  if (!end || begin < 0) throw new Error("it is no event of a ledger");
  const top = JSON.parse(`${line.slice(0, begin)}}`);
  const body = line.slice(begin + ',"body":'.length, end.index);
  const parts = [encoder.encode("hornero event 1\n"), unhex(end[1]), eight(top.sequence), eight(Date.parse(top.time)), ...measured(top.who), ...measured(top.why)];
  if (top.commit === undefined) parts.push(Uint8Array.of(0));
  else parts.push(Uint8Array.of(1), ...measured(top.commit));
  parts.push(...measured(body));
  return { sequence: top.sequence, previous: end[1], stated: end[2], hash: hex(await crypto.subtle.digest("SHA-256", joined(parts))) };
}

/** Events from the first on, each held against the one before. */
export class Chain {
  constructor() {
    /** @type {Found} */
    this.found = { events: 0, head: GENESIS, fault: "" };
  }

  /** @param {string} line as control sent it */
  async add(line) {
    const { found } = this;
    if (found.fault) return;
    try {
      const { sequence, previous, stated, hash } = await eventHash(line);
      if (sequence !== found.events + 1) found.fault = `its number is ${sequence}`;
      else if (previous !== found.head) found.fault = "it does not follow on the one before";
      else if (hash !== stated) found.fault = "its hash is not that of what it says";
      else [found.events, found.head] = [sequence, hash];
    } catch (error) {
      found.fault = /** @type {Error} */ (error).message;
    }
  }
}

/**
 * Whether a receipt's signature is that of its key over what it says; null where this browser can't tell.
 * @param {string} text the receipt as control sent it
 * @returns {Promise<boolean | null>}
 */
export async function receiptHolds(text) {
  const end = /,"signature":"([0-9a-f]{128})","key":"([0-9a-f]{64})"\}\s*$/.exec(text);
  if (!end) return false;
  try {
    const key = await crypto.subtle.importKey("raw", unhex(end[2]), { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify({ name: "Ed25519" }, key, unhex(end[1]), encoder.encode(`${text.slice(0, end.index)}}`));
  } catch (error) {
    if (/** @type {Error} */ (error).name === "NotSupportedError") return null;
    return false;
  }
}
