// Volumes: their data, who has it under which lease, and their snapshots.
import { html } from "./vendor/preact-htm.js";
import { Action } from "./action.js";
import * as api from "./api.js";
import { bytes } from "./format.js";
import { head } from "./live.js";
import { Age, Badge, Command, Empty, Fault, InstanceLink, Moment, Section, Table, useAnswer } from "./parts.js";
import { useSignal } from "./signal.js";

/** @param {{volume: any}} props */
const Volume = ({ volume }) => html`<tr>
  <th scope="row">${volume.name}${volume.protected ? html` <${Badge}>protected<//>` : ""}</th>
  <td>${volume.missing ? html`<${Badge} tone="bad">data is missing<//>` : volume.attached ? html`<${Badge} tone="ok">attached<//>` : html`<${Badge}>free<//>`}</td>
  <td>${volume.lease ? html`lease ${volume.lease.lease}: <a href="#/service/${volume.lease.service}">${volume.lease.service}</a> <${InstanceLink} id=${volume.lease.instance} />, <${Age} at=${volume.lease.since} />` : html`<span class="dim">nobody</span>`}</td>
  <td class="number">${bytes(volume.size_bytes)}</td>
  <td class="number">${bytes(volume.stored_bytes)}</td>
  <td><${Moment} at=${volume.created} /> <span class="dim">${volume.origin}</span></td>
  <td><code>${volume.directory ?? "–"}</code></td>
  <td><${Action} label="Take a snapshot" operation="ChangeVolume" once path="/v1/volumes/${volume.name}" body=${{ deed: "snapshot" }} words=${["volume", "snapshot", volume.name]} about="What ${volume.name} has now is kept as a snapshot." /></td>
</tr>`;

export function VolumesView() {
  const last = useSignal(head);
  const { value, fault, hint } = useAnswer(() => api.get("/v1/volumes"), [], [last]);
  const snapshots = (value ?? []).flatMap((/** @type {any} */ volume) => volume.snapshots.map((/** @type {any} */ one) => ({ volume: volume.name, ...one })));
  return html`<div class="title"><h1>Volumes</h1><p class="same"><${Command} words=${["volume", "ls"]} /></p></div>
    <${Fault} text=${fault} hint=${hint} />
    ${value?.length === 0 && html`<${Empty}>There is no volume.<//>`}
    ${value?.length > 0 && html`<${Table} label="Volumes" head=${["Volume", "State", "Who has it", "Size", "Stored", "Made", "Declared in", html`<span class="hidden">More</span>`]} rows=${value.map((/** @type {any} */ volume) => html`<${Volume} key=${volume.name} volume=${volume} />`)} />
      <${Section} title="Snapshots" id="snapshots">${snapshots.length === 0
        ? html`<${Empty}>No volume has a snapshot.<//>`
        : html`<${Table} label="Snapshots" head=${["Snapshot", "Taken", "Why", "Size", "Stored", "Kept until"]} rows=${snapshots.map((/** @type {any} */ one) => html`<tr><th scope="row">${one.volume}@${one.snapshot}</th><td><${Moment} at=${one.created} /></td><td class="wide">${one.why}</td><td class="number">${bytes(one.size_bytes)}</td><td class="number">${bytes(one.stored_bytes)}</td><td>${one.keep_until ? html`<${Moment} at=${one.keep_until} />` : "it is removed"}</td></tr>`)} />`}<//>`}`;
}
