// The ledger: what happened, and whether anything of it was touched.
import { html, useEffect, useState } from "./vendor/preact-htm.js";
import * as api from "./api.js";
import { Chain } from "./chain.js";
import { count, harmless } from "./format.js";
import { begun, listen } from "./live.js";
import { Badge, Command, Digest, Empty, Fault, Moment, Section, Table } from "./parts.js";
import { useSignal } from "./signal.js";

/** Events that are shown first, and more each time that older ones are asked for. */
const PAGE = 200;
/** Events that a page holds. */
const HELD = 5_000;

/** What a value within an event is known by. @param {any} value */
function brief(value) {
  const text = value.name ?? value.id;
  return typeof text === "string" || typeof text === "number" ? text : JSON.stringify(value).slice(0, 120);
}

/**
 * What an event says, in a line.
 * @param {any} event
 */
export function told({ body }) {
  const { kind, ...rest } = body;
  switch (kind) {
    case "instance_changed":
      return `${body.instance} is ${body.state}`;
    case "rollout_step":
      return `rollout ${body.entry.rollout} of ${body.entry.service}: ${body.entry.phase}`;
    case "switched":
      return `${body.receipt.service} switched from ${body.receipt.from ?? "nothing"} to ${body.receipt.to}`;
    case "release_created":
      return `${body.release.spec.name}@${body.release.number} was made`;
    case "release_proven":
      return `${body.service}@${body.release} is proven`;
    case "image_tested":
      return `test ${body.test} ${body.passed ? "passed" : `failed: ${body.detail}`}`;
    case "control_started":
      return `control ${body.version} started: ${body.detail}`;
    case "effect_refused":
      return `the watchdog refused ${body.effect}: ${body.reason}`;
    case "bundle_sealed":
      return `what was left of ${body.seal.instance} was kept: ${body.seal.summary}`;
    case "scaled":
      return `${body.service} from ${body.from} to ${body.to} servers`;
    case "churn_stopped":
      return `stopped for churn: ${body.breach.made} made, ${body.breach.limit} may be`;
    default: {
      const parts = Object.entries(rest).map(([name, value]) => `${name} ${typeof value === "object" && value !== null ? brief(value) : value}`);
      return `${String(kind).replaceAll("_", " ")}: ${parts.join(", ")}`;
    }
  }
}

/** @param {{event: any}} props */
export const EventRow = ({ event }) => html`<tr>
  <th scope="row" class="number">${event.sequence}</th>
  <td><${Moment} at=${event.time} ms /></td>
  <td><code>${event.body.kind}</code></td>
  <td class="wide">${harmless(told(event))}</td>
  <td>${event.who}</td>
  <td class="wide">${harmless(event.why)}</td>
  <td><${Digest} digest=${event.hash} /></td>
</tr>`;

export const EVENT_HEAD = ["No.", "Time", "Kind", "What", "Who", "Why", "Hash"];

function Verification() {
  const [state, setState] = useState(/** @type {{working?: boolean, events?: number, chain?: import("./chain.js").Found, control?: any, fault?: string}} */ ({}));
  const verify = async () => {
    setState({ working: true, events: 0 });
    try {
      const chain = new Chain();
      let shown = 0;
      for await (const batch of api.lines("/v1/audit?from=1")) {
        for (const raw of batch) if (raw) await chain.add(raw);
        if (chain.found.events - shown >= 500) {
          shown = chain.found.events;
          setState({ working: true, events: shown });
        }
        if (chain.found.fault) break;
      }
      const control = await api.post("/v1/audit/verify", {}).catch((error) => ({ fault: error.message }));
      setState({ chain: chain.found, control });
    } catch (error) {
      setState({ fault: /** @type {Error} */ (error).message });
    }
  };
  const { chain, control } = state;
  return html`<${Section} title="Verification" id="verification" aside=${html`<button type="button" class="primary" onClick=${verify} disabled=${state.working}>Verify here</button>`}>
    <p class="dim">Every event is hashed in this browser and has to lead to the next. Seals and the witness are looked at by control. <${Command} words=${["audit", "verify"]} /></p>
    <${Fault} text=${state.fault} />
    ${state.working && html`<p role="status">${count(state.events ?? 0, "event")} hashed …</p>`}
    ${chain && html`<p role="status" class="verdict">${chain.fault ? html`<${Badge} tone="bad">touched<//> event ${chain.events + 1}: ${chain.fault}` : html`<${Badge} tone="ok">intact<//> ${count(chain.events, "event")} hashed here, up to <${Digest} digest=${chain.head} />`}</p>`}
    ${control && html`<p class="verdict">${control.fault ? html`<${Badge} tone="warn">not asked<//> ${control.fault}` : control.intact ? html`<${Badge} tone="ok">intact<//> by control: ${count(control.events, "event")}, with their seals${control.witness_heads === undefined ? "" : ` and ${count(control.witness_heads, "head")} of the witness`}` : html`<${Badge} tone="bad">touched<//> by control: event ${control.touched}, ${control.why}`}</p>`}
  <//>`;
}

export function AuditView() {
  const [events, setEvents] = useState(/** @type {any[]} */ ([]));
  const [fault, setFault] = useState("");
  const [wanted, setWanted] = useState("");
  const connection = useSignal(begun);
  const add = (/** @type {any[]} */ fresh) =>
    setEvents((before) => {
      const known = new Set(before.map(({ sequence }) => sequence));
      return [...before, ...fresh.filter(({ sequence }) => !known.has(sequence))].sort((one, other) => one.sequence - other.sequence).slice(-HELD);
    });
  const read = async (/** @type {string} */ path) => {
    try {
      /** @type {any[]} */
      const found = [];
      for await (const batch of api.lines(path)) found.push(...batch.filter(Boolean).map(api.parsed));
      add(found);
      setFault("");
    } catch (error) {
      setFault(/** @type {Error} */ (error).message);
    }
  };
  useEffect(() => {
    const end = listen((event) => add([event]));
    // What came before the stream was begun; what is there already is left out.
    void read(`/v1/audit?last=${PAGE}`);
    return end;
  }, [connection]);
  const first = events[0]?.sequence ?? 1;
  const shown = events.filter((event) => !wanted || `${event.body.kind} ${told(event)} ${event.who} ${event.why}`.toLowerCase().includes(wanted.toLowerCase()));
  return html`<div class="title"><h1>Audit</h1>
      <label class="search">Filter <input data-search value=${wanted} onInput=${(/** @type {any} */ event) => setWanted(event.target.value)} /></label></div>
    <${Verification} />
    <${Section} title="Events, newest first" id="events" aside=${html`<${Command} words=${["audit", "--from", String(first)]} />`}>
      <${Fault} text=${fault} />
      ${shown.length === 0 ? html`<${Empty}>No event has that in it.<//>` : html`<${Table} label="Events" className="events" head=${EVENT_HEAD} rows=${[...shown].reverse().map((event) => html`<${EventRow} key=${event.sequence} event=${event} />`)} />`}
      ${first > 1 && html`<button type="button" onClick=${() => read(`/v1/audit?last=${Math.min(10_000, events.length + PAGE)}`)}>Older ones</button>`}
    <//>`;
}
