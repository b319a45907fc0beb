// What runs, as the page knows it: one event stream says when to look again, and a slow beat catches what the ledger does not hold.
import * as api from "./api.js";
import { EventStream } from "./events.js";
import { Signal } from "./signal.js";

/** Health is no event of the ledger. */
const STATUS_BEAT_MS = 2_000;
/** The edge's counts are as old as this at most. */
const TRAFFIC_BEAT_MS = 1_000;
/** Events come in bursts: one look answers for those of this time. */
const GATHER_MS = 25;

/** @type {Signal<any>} */
export const status = new Signal(null);
/** Why there is no newer status. @type {Signal<string>} */
export const statusFault = new Signal("");
/** @type {Signal<any>} */
export const traffic = new Signal(null);
/** Who looks, and what they may. @type {Signal<{user: string, role: string} | null>} */
export const session = new Signal(/** @type {any} */ (null));
/** @type {Signal<import("./events.js").StateNote>} */
export const connection = new Signal(/** @type {import("./events.js").StateNote} */ ({ type: "state", state: "connecting", since: Date.now() }));
/** The last event that came. @type {Signal<number>} */
export const head = new Signal(0);
/** How often the stream was begun: what was asked for before may have failed. */
export const begun = new Signal(0);
/** The time, to about a second. */
export const now = new Signal(Date.now());

/** @type {Set<(event: any) => void>} */
const listeners = new Set();

/**
 * Calls `listener` with every event of the ledger from now on.
 * @param {(event: any) => void} listener
 * @returns {() => void} ends it
 */
export function listen(listener) {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

let wanted = false;
let looking = false;

/** Looks at what runs; what is asked for while it looks is looked at once more. */
export async function look() {
  wanted = true;
  if (looking) return;
  looking = true;
  try {
    while (wanted) {
      wanted = false;
      try {
        status.set(await api.get("/v1/status"));
        statusFault.set("");
      } catch (error) {
        statusFault.set(/** @type {Error} */ (error).message);
      }
    }
  } finally {
    looking = false;
  }
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let gathering;
function lookSoon() {
  gathering ??= setTimeout(() => {
    gathering = undefined;
    void look();
  }, GATHER_MS);
}

/** @param {import("./events.js").Note} note */
function take(note) {
  switch (note.type) {
    case "event":
      head.set(note.event.sequence);
      for (const listener of [...listeners]) listener(note.event);
      lookSoon();
      return;
    case "hello":
      head.set(note.head);
      begun.set(begun.value + 1);
      void look();
      void whoLooks();
      return;
    case "state":
      connection.set(note);
  }
}

async function whoLooks() {
  try {
    session.set(await api.get("/v1/session"));
  } catch {
    // The next connection asks again.
  }
}

/** Follows the stream through the browser's one worker, or by itself where there can be none. */
function connect() {
  if (typeof SharedWorker === "function") {
    try {
      const worker = new SharedWorker("/worker.js", { type: "module", name: "hornero events" });
      let heard = false;
      worker.port.onmessage = ({ data }) => {
        heard = true;
        take(data);
      };
      worker.onerror = () => {
        if (!heard) void new EventStream(take).run();
      };
      addEventListener("pagehide", () => worker.port.postMessage("gone"));
      // A page that comes back from the browser's cache has lost its place.
      addEventListener("pageshow", (event) => event.persisted && location.reload());
      return;
    } catch {
      // Module workers are not everywhere.
    }
  }
  void new EventStream(take).run();
}

/** How many views show figures of traffic. */
let watchers = 0;

/** Keeps the figures of traffic fresh until it is ended. */
export function watchTraffic() {
  watchers += 1;
  void lookAtTraffic();
  return () => void (watchers -= 1);
}

async function lookAtTraffic() {
  try {
    traffic.set(await api.get("/v1/traffic"));
  } catch {
    // Figures are missing while control is away; the connection says so.
  }
}

export function start() {
  connect();
  void look();
  setInterval(() => now.set(Date.now()), 1_000);
  setInterval(() => {
    if (!document.hidden && connection.value.state !== "signed out") void look();
  }, STATUS_BEAT_MS);
  setInterval(() => {
    if (!document.hidden && watchers > 0) void lookAtTraffic();
  }, TRAFFIC_BEAT_MS);
  document.addEventListener("visibilitychange", () => void (document.hidden || look()));
}
