// Requests to control's API.
import { Signal } from "./signal.js";

/** Whether the API refuses this browser: its session is over. @type {Signal<boolean>} */
export const signedOut = new Signal(false);

/** An answer that is not the one hoped for. */
export class ApiError extends Error {
  /** @param {number} status @param {{code?: string, message?: string, hint?: string}} problem */
  constructor(status, problem) {
    super(problem.message ?? `the API answered with status ${status}`);
    this.status = status;
    this.code = problem.code ?? "";
    this.hint = problem.hint ?? "";
  }
}

/** @param {string} path @param {RequestInit} [options] */
async function asked(path, options) {
  const answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  if (answer.ok) {
    signedOut.set(false);
    return answer;
  }
  if (answer.status === 401) signedOut.set(true);
  const text = await answer.text();
  let problem = {};
  try {
    problem = JSON.parse(text);
  } catch {
    // Something between here and control answered.
  }
  throw new ApiError(answer.status, problem);
}

/** @param {unknown} body @returns {RequestInit} */
const posted = (body) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/** @param {string} path @returns {Promise<any>} */
export const get = async (path) => (await asked(path)).json();

/** @param {string} path @returns {Promise<string>} */
export const text = async (path) => (await asked(path)).text();

/** @param {string} path @param {unknown} body @returns {Promise<any>} */
export const post = async (path, body) => (await asked(path, posted(body))).json();

/**
 * The lines of a streamed answer, as they were written.
 * @param {string} path
 * @param {{body?: unknown, signal?: AbortSignal}} [options]
 * @returns {AsyncGenerator<string[]>}
 */
export async function* lines(path, { body, signal } = {}) {
  const answer = await asked(path, { ...(body === undefined ? {} : posted(body)), signal });
  const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      if (parts.length > 0) yield parts;
    }
    if (rest) yield [rest];
  } finally {
    reader.cancel().catch(() => {});
  }
}

/**
 * A line of a stream; one that says why the stream can't go on is thrown.
 * @param {string} line
 * @returns {any}
 */
export function parsed(line) {
  const value = JSON.parse(line);
  if (typeof value.code === "string" && typeof value.message === "string" && !("text" in value)) {
    throw new ApiError(500, value);
  }
  return value;
}
