// What the edge counted of each release lately: the difference of two readings.
import { traffic } from "./live.js";
import { useSignal } from "./signal.js";

/** Readings that are kept: two minutes of them. */
const READINGS = 120;
/** The least time between two of them. */
const READING_MS = 800;
/** The time that figures are of. */
const WINDOW_MS = 15_000;

/**
 * @typedef {{requests: number, failed: number, server_errors: number, in_flight: number, latency: Map<number, number>}} Counts
 * @typedef {{at: number, edge: number | null, releases: Map<string, Counts>}} Reading
 * @typedef {{perSecond: number, requests: number, errors: number, inFlight: number, p50: number | null, p99: number | null}} Figures
 */

/** @type {Reading[]} */
const readings = [];

/** @param {any} report @returns {Reading} */
function reading(report) {
  /** @type {Map<string, Counts>} */
  const releases = new Map();
  for (const one of report.releases) {
    const key = `${one.pool.service}@${one.release}`;
    const sum = releases.get(key) ?? { requests: 0, failed: 0, server_errors: 0, in_flight: 0, latency: new Map() };
    sum.requests += one.requests;
    sum.failed += one.failed;
    sum.server_errors += one.server_errors;
    sum.in_flight += one.in_flight;
    for (const [bucket, count] of one.latency ?? []) sum.latency.set(bucket, (sum.latency.get(bucket) ?? 0) + count);
    releases.set(key, sum);
  }
  return { at: Date.parse(report.at), edge: report.edge, releases };
}

traffic.follow((report) => {
  if (!report) return;
  const next = reading(report);
  // Another edge counts anew.
  if (readings.length > 0 && readings[readings.length - 1].edge !== next.edge) readings.length = 0;
  // The edge is asked once a second: what is read sooner would show the same counts, and twice as many after it.
  if (readings.length > 0 && next.at - readings[readings.length - 1].at < READING_MS) return;
  readings.push(next);
  if (readings.length > READINGS) readings.shift();
});

/**
 * Where a bucket of latencies ends, in milliseconds: whole microseconds up to 15, then eight for each doubling.
 * @param {number} bucket
 */
export function bucketEnd(bucket) {
  const next = bucket + 1;
  const shift = (next >> 3) - 1;
  return (shift < 0 ? next : (8 + (next % 8)) * 2 ** shift) / 1000;
}

/**
 * The first bucket that at most a share of `1 - quantile` is over, by its end in milliseconds.
 * @param {Map<number, number>} latency
 * @param {number} quantile
 */
export function quantile(latency, quantile) {
  const total = [...latency.values()].reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let over = 0;
  let found = null;
  for (const [bucket, count] of [...latency].sort(([one], [other]) => other - one)) {
    if (over > total * (1 - quantile)) break;
    found = bucket;
    over += count;
  }
  return found === null ? null : bucketEnd(found);
}

/**
 * @param {Counts | undefined} before
 * @param {Counts} after
 * @param {number} ms
 * @returns {Figures}
 */
function between(before, after, ms) {
  const since = (/** @type {"requests" | "failed" | "server_errors"} */ name) => Math.max(0, after[name] - (before?.[name] ?? 0));
  const latency = new Map();
  for (const [bucket, count] of after.latency) {
    const fresh = count - (before?.latency.get(bucket) ?? 0);
    if (fresh > 0) latency.set(bucket, fresh);
  }
  const requests = since("requests");
  return {
    requests,
    perSecond: ms > 0 ? (requests * 1000) / ms : 0,
    errors: since("failed") + since("server_errors"),
    inFlight: after.in_flight,
    p50: quantile(latency, 0.5),
    p99: quantile(latency, 0.99),
  };
}

/**
 * The figures of one release over the last seconds; null while there are none.
 * @param {string} key `SERVICE@RELEASE`
 * @returns {Figures | null}
 */
export function figures(key) {
  const last = readings.at(-1);
  const after = last?.releases.get(key);
  if (!last || !after || readings.length < 2) return null;
  const first = readings.find(({ at }) => last.at - at <= WINDOW_MS) ?? readings[0];
  return between(first.releases.get(key), after, last.at - first.at);
}

/**
 * Figures between each two readings, oldest first.
 * @param {string} key
 * @returns {{at: number, figures: Figures}[]}
 */
export function series(key) {
  const found = [];
  for (let at = 1; at < readings.length; at += 1) {
    const after = readings[at].releases.get(key);
    if (after) found.push({ at: readings[at].at, figures: between(readings[at - 1].releases.get(key), after, readings[at].at - readings[at - 1].at) });
  }
  return found;
}

/** Draws again with each reading. */
export const useTraffic = () => useSignal(traffic);
