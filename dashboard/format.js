// How times, sizes, shares and texts of servers are written.

const PAD = 2;
const SPANS = /** @type {const} */ ([["d", 86_400], ["h", 3_600], ["min", 60]]);

/**
 * A span in its two largest units.
 * @param {number} seconds
 */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const at = SPANS.findIndex(([, length]) => whole >= length);
  const [unit, length] = SPANS[at];
  const rest = whole % length;
  const [lower, lowerLength] = SPANS[at + 1] ?? ["s", 1];
  const more = Math.floor(rest / lowerLength);
  return more > 0 ? `${Math.floor(whole / length)} ${unit} ${more} ${lower}` : `${Math.floor(whole / length)} ${unit}`;
}

/** @param {number} ms */
export function millis(ms) {
  if (ms >= 10_000) return span(ms / 1000);
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms >= 100) return `${ms.toFixed(0)} ms`;
  return ms >= 1 ? `${ms.toFixed(1)} ms` : `${ms.toFixed(2)} ms`;
}

/** @param {number} bytes */
export function bytes(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let left = bytes;
  while (left >= 1024 && at < units.length - 1) {
    left /= 1024;
    at += 1;
  }
  return `${at === 0 || left >= 100 ? left.toFixed(0) : left.toFixed(1)} ${units[at]}`;
}

/**
 * A share in ten-thousandths as people write it.
 * @param {number} weight
 */
export const percent = (weight) => `${Number((weight / 100).toFixed(2))}%`;

/** @param {number} part @param {number} whole */
export function rate(part, whole) {
  if (whole === 0) return "–";
  const share = (part / whole) * 100;
  return `${share === 0 || share >= 10 ? share.toFixed(0) : share.toFixed(2)}%`;
}

/** @param {string | null | undefined} digest */
export const short = (digest) => (digest ? digest.replace(/^sha256:/, "").slice(0, 12) : "–");

/** @param {Date} time @param {boolean} [ms] */
function clock(time, ms) {
  const two = (/** @type {number} */ number) => String(number).padStart(PAD, "0");
  const text = `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
  return ms ? `${text}.${String(time.getMilliseconds()).padStart(3, "0")}` : text;
}

/**
 * A moment in the browser's time zone; the day stands with it unless it is today.
 * @param {string | number} text
 * @param {boolean} [ms]
 */
export function moment(text, ms) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return "–";
  const two = (/** @type {number} */ number) => String(number).padStart(PAD, "0");
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return time.toDateString() === new Date().toDateString() ? clock(time, ms) : `${day} ${clock(time, ms)}`;
}

/**
 * A text of a server with what could mislead a reader made visible: escape sequences, other control characters, and those
 * that turn the direction of writing.
 * @param {string} text
 */
export function harmless(text) {
  // eslint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (letter) => {
    const code = letter.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? "\u2421" : `<U+${code.toString(16).toUpperCase().padStart(4, "0")}>`;
  });
}

/**
 * A word as a shell takes it.
 * @param {string} word
 */
export const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/**
 * A number of things.
 * @param {number} count @param {string} noun
 */
export const count = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
