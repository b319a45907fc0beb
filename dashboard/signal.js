// Values that views follow.
import { useEffect, useState } from "./vendor/preact-htm.js";

/**
 * A value that tells those who follow it when it is another one.
 * @template T
 */
export class Signal {
  /** @param {T} value */
  constructor(value) {
    this.value = value;
    /** @type {Set<(value: T) => void>} */
    this.followers = new Set();
  }

  /** @param {T} value */
  set(value) {
    if (value === this.value) return;
    this.value = value;
    for (const follower of [...this.followers]) follower(value);
  }

  /**
   * @param {(value: T) => void} follower
   * @returns {() => void} ends it
   */
  follow(follower) {
    this.followers.add(follower);
    return () => void this.followers.delete(follower);
  }
}

/**
 * The value of a signal, for a view that is drawn again with each.
 * @template T
 * @param {Signal<T>} signal
 * @returns {T}
 */
export function useSignal(signal) {
  const [, draw] = useState({});
  useEffect(() => {
    let shown = signal.value;
    const end = signal.follow((value) => {
      shown = value;
      draw({});
    });
    // It may have changed between drawing and following.
    if (shown !== signal.value) draw({});
    return end;
  }, [signal]);
  return signal.value;
}
