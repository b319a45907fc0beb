// The stream of the ledger's events: begun again after the last one that came, so that none is missed or told twice.

/** How long nothing may come before the connection counts as dead: three heartbeats of the server. */
const SILENCE_MS = 45_000;
const RETRY_FIRST_MS = 100;
const RETRY_LAST_MS = 3_000;
/** Between two tries of a page that is signed out: somebody has to open a new link first. */
const SIGNED_OUT_MS = 30_000;

/**
 * @typedef {{type: "event", event: any}} EventNote an event of the ledger
 * @typedef {{type: "hello", head: number}} HelloNote the stream stands; the ledger ends at `head`
 * @typedef {{type: "state", state: "connecting" | "live" | "lost" | "signed out", since: number}} StateNote
 * @typedef {EventNote | HelloNote | StateNote} Note
 */

/** Follows the ledger for as long as the page lives. */
export class EventStream {
  /** @param {(note: Note) => void} tell */
  constructor(tell) {
    this.tell = tell;
    /** The last event that came; null before the server said where the ledger ends. @type {number | null} */
    this.last = null;
    /** @type {StateNote} */
    this.state = { type: "state", state: "connecting", since: Date.now() };
  }

  /** @param {StateNote["state"]} state */
  enter(state) {
    if (state === this.state.state) return;
    this.state = { type: "state", state, since: Date.now() };
    this.tell(this.state);
  }

  async run() {
    let pause = RETRY_FIRST_MS;
    for (;;) {
      const before = this.last;
      try {
        await this.once();
        this.enter("lost");
      } catch (error) {
        this.enter(/** @type {any} */ (error).status === 401 ? "signed out" : "lost");
      }
      pause = this.last !== before ? RETRY_FIRST_MS : Math.min(2 * pause, RETRY_LAST_MS);
      if (this.state.state === "signed out") pause = SIGNED_OUT_MS;
      // All browsers lose control at the same moment; they need not come back at the same one.
      await new Promise((done) => setTimeout(done, pause * (0.75 + Math.random() / 2)));
    }
  }

  async once() {
    const abort = new AbortController();
    let timer = setTimeout(() => abort.abort(), SILENCE_MS);
    try {
      /** @type {Record<string, string>} */
      const headers = { accept: "text/event-stream" };
      if (this.last !== null) headers["last-event-id"] = String(this.last);
      const answer = await fetch("/v1/events", { headers, credentials: "same-origin", cache: "no-store", signal: abort.signal });
      if (!answer.ok || !answer.body) throw Object.assign(new Error("no stream"), { status: answer.status });
      if (this.last !== null) this.stands(this.last);
      const reader = answer.body.getReader();
      const decoder = new TextDecoder();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(() => abort.abort(), SILENCE_MS);
        const blocks = (rest + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/);
        rest = blocks.pop() ?? "";
        for (const block of blocks) this.block(block);
      }
    } finally {
      clearTimeout(timer);
      abort.abort();
    }
  }

  /** @param {number} head */
  stands(head) {
    this.last = head;
    this.enter("live");
    this.tell({ type: "hello", head });
  }

  /**
   * One block of the stream (HTML standard, 9.2.6).
   * @param {string} block
   */
  block(block) {
    let [kind, id, data] = ["message", "", ""];
    for (const line of block.split(/\r?\n/)) {
      const [, name, value] = /^([a-z]*): ?(.*)$/s.exec(line) ?? [];
      if (name === "event") kind = value;
      if (name === "id") id = value;
      if (name === "data") data += value;
    }
    const number = Number(id);
    if (!id || !Number.isSafeInteger(number)) return;
    if (kind === "reset") {
      // The home has another ledger now: nothing of what is known follows on.
      this.stands(number);
      return;
    }
    if (kind === "hello") {
      if (this.last === null) this.stands(number);
      return;
    }
    if (this.last === null) this.stands(number - 1);
    const last = /** @type {number} */ (this.last);
    if (number <= last) return;
    // What lies between would be missed: it is asked for again.
    if (number > last + 1) throw new Error(`event ${number} came after ${last}`);
    this.last = number;
    this.tell({ type: "event", event: JSON.parse(data) });
  }
}
