// Small pieces that every view is made of.
import { html, useEffect, useState } from "./vendor/preact-htm.js";
import { moment, quoted, short, span } from "./format.js";
import { begun, now } from "./live.js";
import { useSignal } from "./signal.js";

/** @typedef {"ok" | "warn" | "bad" | "info" | "plain"} Tone */

/** A word with a colour; the word alone says it. @param {{tone?: Tone, children?: any, title?: string}} props */
export const Badge = ({ tone = "plain", children, title }) => html`<span class="badge ${tone}" title=${title}>${children}</span>`;

/** How long ago something was. @param {{at: string}} props */
export function Age({ at }) {
  const time = useSignal(now);
  return html`<time datetime=${at} title=${at}>${span((time - Date.parse(at)) / 1000)}</time>`;
}

/** How long it is until something. @param {{at: string}} props */
export function Until({ at }) {
  const time = useSignal(now);
  const left = (Date.parse(at) - time) / 1000;
  return html`<time datetime=${at} title=${at}>${left > 0 ? `in ${span(left)}` : "now"}</time>`;
}

/** @param {{at: string, ms?: boolean}} props */
export const Moment = ({ at, ms }) => html`<time datetime=${at} title=${at}>${moment(at, ms)}</time>`;

/** @param {{digest?: string | null}} props */
export const Digest = ({ digest }) => html`<code class="digest" title=${digest ?? ""}>${short(digest)}</code>`;

/** @param {{id: string}} props */
export const InstanceLink = ({ id }) => html`<a href="#/instance/${encodeURIComponent(id)}"><code>${id}</code></a>`;

/**
 * A command to type instead, with a button that copies it.
 * @param {{words: (string | undefined | null | false)[]}} props
 */
export function Command({ words }) {
  const [copied, setCopied] = useState(false);
  const line = ["hornero", ...words.filter((word) => typeof word === "string").map((word) => quoted(/** @type {string} */ (word)))].join(" ");
  const copy = async () => {
    await navigator.clipboard.writeText(line);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return html`<span class="command"><code>${line}</code><button type="button" class="quiet" onClick=${copy} aria-label="Copy ${line}">${copied ? "copied" : "copy"}</button></span>`;
}

/** @param {{title: string, id: string, children?: any, aside?: any}} props */
export const Section = ({ title, id, children, aside }) => html`<section aria-labelledby=${id}>
  <div class="section-head"><h2 id=${id}>${title}</h2>${aside}</div>
  ${children}
</section>`;

/** @param {{children?: any}} props */
export const Empty = ({ children }) => html`<p class="empty">${children}</p>`;

/** @param {{text?: string, hint?: string}} props */
export const Fault = ({ text, hint }) => (text ? html`<p class="note bad" role="alert">${text}${hint ? html`<br /><span class="hint">${hint}</span>` : ""}</p>` : null);

/**
 * A table that scrolls within itself where the screen is narrow.
 * @param {{label: string, head: any[], rows: any[], className?: string}} props
 */
export const Table = ({ label, head, rows, className = "" }) => html`<div class="table-box" role="group" aria-label=${label} tabindex="0">
  <table class=${className}>
    <thead><tr>${head.map((cell) => html`<th scope="col">${cell}</th>`)}</tr></thead>
    <tbody>${rows}</tbody>
  </table>
</div>`;

/**
 * What an endpoint answers, asked for again whenever the question is another one, or there is an occasion: one at a time, and once more
 * afterwards for all that came meanwhile.
 * @template T
 * @param {() => Promise<T>} ask
 * @param {unknown[]} question what tells one question from another
 * @param {unknown[]} [occasions] what, when it changes, is a reason to ask the same once more
 * @returns {{value: T | null, fault: string, hint: string, again: () => void}}
 */
export function useAnswer(ask, question, occasions = []) {
  const [state, setState] = useState(/** @type {{value: T | null, fault: string, hint: string}} */ ({ value: null, fault: "", hint: "" }));
  const [turn, setTurn] = useState(0);
  const [asker] = useState(() => ({ ask, key: "", busy: false, again: false, gone: false }));
  const connection = useSignal(begun);
  asker.ask = ask;
  asker.key = question.join("\n");
  useEffect(() => {
    asker.gone = false;
    return () => void (asker.gone = true);
  }, []);
  useEffect(() => {
    asker.again = true;
    if (asker.busy) return;
    asker.busy = true;
    void (async () => {
      while (asker.again && !asker.gone) {
        asker.again = false;
        const { key } = asker;
        // What came of another question is of no use.
        const isWanted = () => !asker.gone && key === asker.key;
        try {
          const value = await asker.ask();
          if (isWanted()) setState({ value, fault: "", hint: "" });
        } catch (error) {
          const { message, hint } = /** @type {Error & {hint?: string}} */ (error);
          if (isWanted()) setState((before) => ({ ...before, fault: message, hint: hint ?? "" }));
        }
      }
      asker.busy = false;
    })();
  }, [asker.key, ...occasions, turn, connection]);
  return { ...state, again: () => setTurn((before) => before + 1) };
}

/** @type {Record<string, Tone>} */
const STATES = {
  serving: "ok",
  ready: "ok",
  healthy: "ok",
  failed: "bad",
  unhealthy: "bad",
  quarantined: "bad",
  draining: "warn",
  probing: "info",
  starting: "info",
  created: "info",
};

/** @param {{word?: string | null}} props */
export const State = ({ word }) => html`<${Badge} tone=${STATES[word ?? ""] ?? "plain"}>${word ?? "unknown"}<//>`;
