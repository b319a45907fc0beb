// One server, alive or long gone: how it stands, what happened to it, why it died.
import { html, useEffect, useState } from "./vendor/preact-htm.js";
import { Action } from "./action.js";
import * as api from "./api.js";
import { EVENT_HEAD, EventRow, told } from "./audit.js";
import { bytes, harmless } from "./format.js";
import { begun, listen, status } from "./live.js";
import { Badge, Command, Digest, Empty, Fault, Moment, Section, State, Table } from "./parts.js";
import { useSignal } from "./signal.js";
import { Instances } from "./service.js";

/** Events of one server that are shown. */
const EVENTS = 500;

/** @param {any} cause */
function causeText(cause) {
  if (cause === null || cause === undefined) return "";
  if (typeof cause === "string") return cause.replaceAll("_", " ");
  const [[kind, value]] = Object.entries(cause);
  return { code: `exited with code ${value}`, signal: `ended by signal ${value}`, not_started: `did not start: ${value}` }[kind] ?? `${kind} ${value}`;
}

/** @param {{events: any[], id: string}} props */
const Timeline = ({ events, id }) => html`<ol class="timeline">${events
  .filter(({ body }) => body.instance === id || body.end?.run === id)
  .map((event) => html`<li key=${event.sequence}><${Moment} at=${event.time} ms /> ${event.body.kind === "instance_changed" ? html`<${State} word=${event.body.state} /> ${causeText(event.body.cause)}` : harmless(told(event))} <span class="dim">${harmless(event.why)}</span></li>`)}</ol>`;

/** What was kept of a server that failed, as the ledger tells of it. @param {{seal: any}} props */
const Autopsy = ({ seal }) => html`<${Section} title="Autopsy" id="autopsy" aside=${html`<${Command} words=${["autopsy", seal.instance]} />`}>
  <p class="note warn"><strong>${harmless(seal.summary)}</strong></p>
  <p class="dim">Sealed at <${Moment} at=${seal.sealed} />: ${bytes(seal.bytes)}, <${Digest} digest=${seal.digest} /></p>
<//>`;

/** @param {{object: string}} props */
export function InstanceView({ object }) {
  const report = useSignal(status);
  const [events, setEvents] = useState(/** @type {any[]} */ ([]));
  const [fault, setFault] = useState("");
  const connection = useSignal(begun);
  useEffect(() => {
    const add = (/** @type {any[]} */ fresh) =>
      setEvents((before) => {
        const known = new Set(before.map(({ sequence }) => sequence));
        return [...before, ...fresh.filter(({ sequence }) => !known.has(sequence))].sort((one, other) => one.sequence - other.sequence);
      });
    const end = listen((event) => {
      if (event.body.instance === object || event.body.seal?.instance === object) add([event]);
    });
    (async () => {
      try {
        for await (const batch of api.lines(`/v1/audit?last=${EVENTS}&instance=${encodeURIComponent(object)}`)) add(batch.filter(Boolean).map(api.parsed));
        setFault("");
      } catch (error) {
        setFault(/** @type {Error} */ (error).message);
      }
    })();
    return end;
  }, [object, connection]);
  const services = [...(report?.services ?? []), ...(report?.previews ?? [])];
  const alive = services.flatMap((one) => one.instances).find((one) => one.id === object);
  const last = events.filter(({ body }) => body.kind === "instance_changed").at(-1)?.body;
  const service = last?.service;
  return html`<div class="title"><h1>Server <code>${object}</code></h1>
      ${alive ? html`<${State} word=${alive.state} /> <${State} word=${alive.health} />` : last ? html`<${Badge} tone=${last.state === "failed" ? "bad" : "plain"}>gone, ${last.state}<//>` : ""}
      <div class="buttons">
        ${alive && html`<${Action} label="Replace it" operation="Recycle" path="/v1/recycle" body=${{ object }} words=${["recycle", object]} about="A new server of the same release takes its place." />`}
        <a class="button" href="#/logs/${encodeURIComponent(object)}">Logs</a>
        ${service && html`<a class="button" href="#/service/${service}">${service}</a>`}
      </div>
    </div>
    <${Fault} text=${fault} />
    ${alive ? html`<${Section} title="Now" id="now"><${Instances} instances=${[alive]} label="This server" /><//>` : ""}
    ${events.filter(({ body }) => body.seal?.instance === object).map(({ body }) => html`<${Autopsy} seal=${body.seal} />`)}
    <${Section} title="Timeline" id="timeline">${events.length > 0 ? html`<${Timeline} events=${events} id=${object} />` : html`<${Empty}>The ledger has no event of it.<//>`}<//>
    ${events.length > 0 && html`<${Section} title="Events" id="events"><${Table} label="Events" className="events" head=${EVENT_HEAD} rows=${[...events].reverse().map((event) => html`<${EventRow} key=${event.sequence} event=${event} />`)} /><//>`}`;
}
