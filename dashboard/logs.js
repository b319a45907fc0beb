// Logs: the filters of `hornero logs`, and lines as they come.
import { html, useEffect, useMemo, useRef, useState } from "./vendor/preact-htm.js";
import * as api from "./api.js";
import { harmless, moment } from "./format.js";
import { status } from "./live.js";
import { LINES_MAX, LogLines } from "./log-lines.js";
import { Badge, Command, Empty, Fault, InstanceLink } from "./parts.js";
import { useSignal } from "./signal.js";
import { VirtualList } from "./virtual-list.js";

/** Lines that are shown first. */
const NEWEST = 1_000;
/** Letters of a line that stand in its row: all of it stands below where it is chosen. */
const ROW_LETTERS = 2_000;
const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"];
const FILTERS = /** @type {const} */ (["level", "grep", "word", "field", "since", "until"]);

/** @type {Record<string, import("./parts.js").Tone>} */
const TONES = { warn: "warn", error: "bad", fatal: "bad", info: "info" };

/**
 * A time as the command takes it, as the API does.
 * @param {string} text
 */
export function since(text) {
  const [, number, unit] = /^(\d+)(s|m|h|d)$/.exec(text) ?? [];
  if (!unit) return text;
  const seconds = { s: 1, m: 60, h: 3_600, d: 86_400 }[unit] ?? 1;
  return new Date(Date.now() - Number(number) * seconds * 1000).toISOString();
}

/** What is asked of the API. @param {URLSearchParams} wish @param {boolean} all */
function query(wish, all) {
  const asked = new URLSearchParams();
  for (const name of FILTERS) {
    const value = wish.get(name);
    if (value) asked.append(name, name === "since" || name === "until" ? since(value) : value);
  }
  if (!all) asked.append("last", String(NEWEST));
  return asked;
}

/** @param {string} object @param {URLSearchParams} wish */
const words = (object, wish) => ["logs", object, ...FILTERS.flatMap((name) => (wish.get(name) ? [`--${name}`, /** @type {string} */ (wish.get(name))] : [])), ...(wish.get("follow") === "no" ? [] : ["-f"])];

/**
 * Reads lines until it is ended; those that follow as well. Hidden pages read none: a browser has few connections.
 * @param {string} object @param {URLSearchParams} wish @param {boolean} all @param {boolean} follow
 */
function useLines(object, wish, all, follow) {
  const store = useMemo(() => new LogLines(), [object, wish.toString(), all]);
  const [, setVersion] = useState(0);
  const [state, setState] = useState(/** @type {{reading: boolean, fault: string, hint: string}} */ ({ reading: false, fault: "", hint: "" }));
  useEffect(() => {
    if (!object) return undefined;
    /** @type {AbortController | null} */
    let abort = null;
    let over = false;
    let drawing = 0;
    const draw = () => {
      drawing ||= requestAnimationFrame(() => {
        drawing = 0;
        setVersion((before) => before + 1);
      });
    };
    const read = async () => {
      abort = new AbortController();
      const { signal } = abort;
      const asked = query(wish, all && store.count === 0);
      /** How many lines of the last time are here: those come again. */
      let again = 0;
      if (store.count > 0) {
        const last = /** @type {import("./log-lines.js").Line} */ (store.get(store.count - 1));
        for (let at = store.count - 1; at >= 0 && store.get(at)?.time === last.time; at -= 1) again += 1;
        asked.delete("last");
        asked.set("since", new Date(last.time).toISOString());
      }
      const newest = store.count > 0 ? /** @type {any} */ (store.get(store.count - 1)).time : 0;
      if (follow) asked.append("follow", "true");
      setState({ reading: true, fault: "", hint: "" });
      try {
        for await (const batch of api.lines(`/v1/logs/${encodeURIComponent(object)}?${asked}`, { signal })) {
          for (const raw of batch) {
            if (!raw) continue;
            const line = api.parsed(raw);
            if (again > 0 && Date.parse(line.time) === newest) again -= 1;
            else store.add(line);
          }
          draw();
        }
        setState({ reading: false, fault: "", hint: "" });
        if (follow && !over) retry();
      } catch (error) {
        if (signal.aborted) return;
        const { message, hint } = /** @type {any} */ (error);
        setState({ reading: false, fault: message, hint: hint ?? "" });
        if (follow && !(/** @type {any} */ (error).status >= 400 && /** @type {any} */ (error).status < 500)) retry();
      }
    };
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const retry = () => {
      timer = setTimeout(() => !over && !document.hidden && void read(), 1_000);
    };
    const visible = () => {
      if (!follow) return;
      if (document.hidden) abort?.abort();
      else if (abort?.signal.aborted) void read();
    };
    document.addEventListener("visibilitychange", visible);
    void read();
    return () => {
      over = true;
      clearTimeout(timer);
      cancelAnimationFrame(drawing);
      document.removeEventListener("visibilitychange", visible);
      abort?.abort();
    };
  }, [store, follow]);
  return { store, ...state };
}

/** @param {{line: import("./log-lines.js").Line}} props */
function Row({ line }) {
  const text = line.text.length > ROW_LETTERS ? `${line.text.slice(0, ROW_LETTERS)}…` : line.text;
  const [first, ...more] = text.split("\n");
  return html`<span class="log-time">${moment(line.time, true)}</span><span class="log-level ${TONES[line.level ?? ""] ?? ""}">${line.level ?? (line.stream === "stderr" ? "err" : "")}</span><span class="log-from">${line.instance}</span><span class="log-text">${harmless(first)}${more.length > 0 ? html` <span class="dim">+${more.length} lines</span>` : ""}</span>`;
}

/** @param {{line: import("./log-lines.js").Line}} props */
function Chosen({ line }) {
  let pretty = line.text;
  try {
    if (line.text.startsWith("{")) pretty = JSON.stringify(JSON.parse(line.text), null, 2);
  } catch {
    // No JSON after all.
  }
  return html`<section class="chosen-line" aria-label="The chosen line">
    <p><time datetime=${new Date(line.time).toISOString()}>${new Date(line.time).toISOString()}</time> <${InstanceLink} id=${line.instance} />${line.release === null ? "" : ` release ${line.release}`} ${line.stream} ${line.level ? html`<${Badge} tone=${TONES[line.level] ?? "plain"}>${line.level}<//>` : ""}</p>
    <pre tabindex="0">${harmless(pretty)}</pre>
  </section>`;
}

/** @param {{object: string, query: string}} props */
export function LogsView({ object, query: text }) {
  const wish = useMemo(() => new URLSearchParams(text), [text]);
  const report = useSignal(status);
  const [all, setAll] = useState(false);
  const follow = wish.get("follow") !== "no";
  const { store, reading, fault, hint } = useLines(object, wish, all, follow);
  const [stick, setStick] = useState(true);
  const [chosen, setChosen] = useState(/** @type {number | null} */ (null));
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  const names = (report?.services ?? []).map((/** @type {any} */ one) => one.name);
  const ask = (/** @type {Event | null} */ event) => {
    event?.preventDefault();
    const data = new FormData(/** @type {HTMLFormElement} */ (form.current));
    const next = new URLSearchParams();
    for (const name of FILTERS) {
      const value = String(data.get(name) ?? "").trim();
      if (value) next.set(name, value);
    }
    if (!data.get("follow")) next.set("follow", "no");
    const wanted = String(data.get("object") ?? "").trim();
    location.hash = `#/logs/${encodeURIComponent(wanted)}${next.size > 0 ? `?${next}` : ""}`;
  };
  const input = (/** @type {string} */ name, /** @type {string} */ label, /** @type {string} */ example) =>
    html`<label>${label}<input name=${name} defaultValue=${wish.get(name) ?? ""} placeholder=${example} /></label>`;
  const line = chosen === null ? null : store.get(chosen);
  return html`<div class="title"><h1>Logs${object ? html` of ${object}` : ""}</h1></div>
    <form ref=${form} class="filters" onSubmit=${ask} role="search">
      <label>Service or instance<input name="object" data-search list="objects" defaultValue=${object} required placeholder="site, site@17" /></label>
      <datalist id="objects">${names.map((/** @type {string} */ name) => html`<option value=${name} />`)}</datalist>
      <label>Level<select name="level" onChange=${() => ask(null)}><option value="">every</option>${LEVELS.map((level) => html`<option value=${level} selected=${wish.get("level") === level}>${level} or worse</option>`)}</select></label>
      ${input("grep", "Regular expression", "timeout|refused")}
      ${input("word", "Whole word", "8f41c2")}
      ${input("field", "Field", "user.id=42")}
      ${input("since", "Since", "10m")}
      ${input("until", "Until", "")}
      <label class="check"><input type="checkbox" name="follow" defaultChecked=${follow} onChange=${() => object && ask(null)} /> Follow</label>
      <button type="submit" class="primary">Show</button>
    </form>
    <${Fault} text=${fault} hint=${hint} />
    ${!object
      ? html`<${Empty}>Name a service or an instance, also one long gone.<//>`
      : html`<p class="log-state"><span role="status">${store.count.toLocaleString("en")} lines${reading ? (follow ? ", following" : ", reading") : ""}</span>${store.dropped > 0 && html` <${Badge} tone="warn">${store.dropped.toLocaleString("en")} older ones dropped from this page<//>`}
            ${!all && store.count >= NEWEST && html` <button type="button" onClick=${() => setAll(true)}>Everything, up to ${LINES_MAX.toLocaleString("en")} lines</button>`}
            ${!stick && store.count > 0 && html` <button type="button" onClick=${() => setStick(true)}>To the newest</button>`}
            <span class="same"><${Command} words=${words(object, wish)} /></span></p>
          <${VirtualList} count=${store.count} row=${(/** @type {number} */ index) => html`<${Row} line=${store.get(index)} />`} label="Log lines" follow=${stick} onFollow=${setStick} chosen=${chosen} onChoose=${setChosen} />
          ${line ? html`<${Chosen} line=${line} />` : html`<p class="dim">Choose a line to see all of it; arrow keys, Home and End move.</p>`}`}`;
}
