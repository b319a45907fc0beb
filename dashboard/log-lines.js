// Lines of logs in the memory of a browser: a million of them, the oldest dropped and counted beyond that.

/** Lines that are held: at some hundred bytes each, a few hundred megabytes. */
export const LINES_MAX = 1_000_000;
/** Lines of a chunk: what is dropped at once. */
const CHUNK = 10_000;

/**
 * @typedef {{time: number, text: string, level: string | null, stream: string, instance: string, release: number | null}} Line
 */

/** Names that come again in every line, kept once. */
class Names {
  constructor() {
    /** @type {string[]} */
    this.list = [];
    /** @type {Map<string, number>} */
    this.numbers = new Map();
  }

  /** @param {string} name */
  number(name) {
    let number = this.numbers.get(name);
    if (number === undefined) {
      number = this.list.push(name) - 1;
      this.numbers.set(name, number);
    }
    return number;
  }
}

class Chunk {
  constructor() {
    this.count = 0;
    this.times = new Float64Array(CHUNK);
    this.writers = new Uint32Array(CHUNK);
    /** @type {string[]} */
    this.texts = [];
  }
}

/** The lines, by their number from the first that is held. */
export class LogLines {
  /** @param {number} [max] */
  constructor(max = LINES_MAX) {
    this.max = max;
    /** @type {Chunk[]} */
    this.chunks = [];
    this.count = 0;
    /** Lines that were dropped to make room. */
    this.dropped = 0;
    this.names = new Names();
  }

  /** @param {any} line as the API gives it */
  add(line) {
    let last = this.chunks.at(-1);
    if (!last || last.count === CHUNK) {
      last = new Chunk();
      this.chunks.push(last);
      while (this.count + CHUNK > this.max && this.chunks.length > 1) {
        const gone = /** @type {Chunk} */ (this.chunks.shift()).count;
        this.count -= gone;
        this.dropped += gone;
      }
    }
    last.times[last.count] = Date.parse(line.time);
    last.writers[last.count] = this.names.number(JSON.stringify([line.instance, line.release, line.stream, line.level]));
    last.texts.push(line.text ?? line.message ?? "");
    last.count += 1;
    this.count += 1;
  }

  /** @param {number} index @returns {Line | null} */
  get(index) {
    // All chunks but the last are full.
    const chunk = this.chunks[Math.floor(index / CHUNK)];
    const at = index % CHUNK;
    if (!chunk || at >= chunk.count) return null;
    const [instance, release, stream, level] = JSON.parse(this.names.list[chunk.writers[at]]);
    return { time: chunk.times[at], text: chunk.texts[at], instance, release, stream, level };
  }
}
