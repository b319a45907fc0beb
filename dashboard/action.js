// Buttons that change something: each says which command does the same, asks for a reason, and shows what came of it.
import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import * as api from "./api.js";
import { harmless } from "./format.js";
import { look, session } from "./live.js";
import { Command } from "./parts.js";
import { Signal, useSignal } from "./signal.js";

/** Each role may what those before it may. */
const ROLES = ["viewer", "operator", "releaser", "breaker", "admin"];
/** The role that an operation needs, as the table of endpoints has it: a test compares them. @type {Record<string, string>} */
const NEEDS = {
  ChangeVolume: "operator",
  Recycle: "operator",
  Rehearse: "operator",
  RemovePreview: "releaser",
  Resume: "operator",
  Rollback: "operator",
  RunJob: "operator",
  Steer: "operator",
};

/**
 * Whether who looks may ask for an operation of the API.
 * @param {string} operation its name in the API's document
 */
export function useMay(operation) {
  const who = useSignal(session);
  const needed = ROLES.indexOf(NEEDS[operation] ?? "admin");
  return who !== null && ROLES.indexOf(who.role) >= needed;
}

/** @param {any} line */
function told(line) {
  if (line.type === "progress") return line.message;
  if (line.type !== "finished") return null;
  const { result, failure } = line.outcome;
  return failure ? `${String(result).replaceAll("_", " ")}: ${failure.reason}${failure.hint ? ` (${failure.hint})` : ""}` : String(result).replaceAll("_", " ");
}

/**
 * @typedef {object} ActionProps
 * @property {string} label what the button says
 * @property {string} operation the endpoint's name
 * @property {string} path
 * @property {any} body what is posted, without the reason
 * @property {string[]} words the command that does the same
 * @property {string} about what it does, in a sentence
 * @property {boolean} [needsReason]
 * @property {boolean} [danger]
 * @property {boolean} [disabled]
 * @property {boolean} [once] whether the answer is one value instead of lines
 */

/** What is being asked for: its dialog outlives the view that it was opened from. @type {Signal<ActionProps | null>} */
const wanted = new Signal(/** @type {ActionProps | null} */ (null));

/** @param {ActionProps} props */
export function Action(props) {
  const may = useMay(props.operation);
  if (!may) return null;
  return html`<button type="button" class=${props.danger ? "danger" : ""} disabled=${props.disabled} onClick=${() => wanted.set(props)} title="hornero ${props.words.join(" ")}">${props.label}</button>`;
}

/** The dialog of what is being asked for, where something is. */
export function ActionDialog() {
  const props = useSignal(wanted);
  return props && html`<${Dialog} ...${props} />`;
}

/** @param {ActionProps} props */
function Dialog({ label, path, body, words, about, needsReason, danger, once }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [reason, setReason] = useState("");
  const [lines, setLines] = useState(/** @type {string[]} */ ([]));
  const [state, setState] = useState(/** @type {"asking" | "working" | "done" | "failed"} */ ("asking"));
  useEffect(() => void dialog.current?.showModal(), []);
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setState("working");
    const wish = { ...body, intent: { why: reason } };
    try {
      let failed = false;
      if (once) {
        await api.post(path, wish);
      } else {
        for await (const batch of api.lines(path, { body: wish })) {
          for (const raw of batch) {
            const line = api.parsed(raw);
            const text = told(line);
            if (text) setLines((before) => [...before.slice(-200), text]);
            if (line.type === "finished") failed = line.outcome.result !== "done";
          }
        }
      }
      setState(failed ? "failed" : "done");
    } catch (error) {
      const { message, hint } = /** @type {any} */ (error);
      setLines((before) => [...before, hint ? `${message} (${hint})` : message]);
      setState("failed");
    }
    void look();
  };
  const line = [...words, ...(reason ? ["--reason", reason] : [])];
  return html`<dialog ref=${dialog} aria-labelledby="asked" onClose=${() => wanted.set(null)}>
    <form onSubmit=${send}>
      <h2 id="asked">${label}</h2>
      <p>${about}</p>
      <label>Reason, for the record${needsReason ? "" : " (may be left out)"}
        <input value=${reason} onInput=${(/** @type {any} */ event) => setReason(event.target.value)} required=${needsReason} disabled=${state !== "asking"} maxlength="500" autofocus />
      </label>
      <p class="same">The same in a terminal: <${Command} words=${line} /></p>
      ${lines.length > 0 && html`<ol class="told" aria-live="polite">${lines.map((text) => html`<li>${harmless(text)}</li>`)}</ol>`}
      ${state === "working" && html`<p role="status">Under way; it goes on if this page is closed.</p>`}
      ${state === "done" && html`<p class="note ok" role="status">Done.</p>`}
      ${state === "failed" && html`<p class="note bad" role="alert">It did not end as asked.</p>`}
      <div class="buttons">
        <button type="button" onClick=${() => dialog.current?.close()}>${state === "asking" ? "Leave it" : "Close"}</button>
        ${state === "asking" && html`<button type="submit" class=${danger ? "danger primary" : "primary"}>${label}</button>`}
      </div>
    </form>
  </dialog>`;
}
