// Two releases side by side: why each was made, and what their images have differently by package, path and configuration.
import { html } from "./vendor/preact-htm.js";
import * as api from "./api.js";
import { bytes, count, harmless } from "./format.js";
import { Badge, Command, Digest, Empty, Fault, Moment, Section, Table, useAnswer } from "./parts.js";

/** @param {string} service @param {number} from @param {number} to */
async function compared(service, from, to) {
  const history = await api.get(`/v1/services/${encodeURIComponent(service)}/history`);
  const [old, fresh] = [from, to].map((number) => history.find((/** @type {any} */ one) => one.release === number));
  if (!old || !fresh) throw new Error(`${service} has no release ${old ? to : from}`);
  const difference = await api.get(`/v1/images/${old.image}/difference/${fresh.image}`);
  return { old, fresh, difference };
}

/** @param {{release: any, service: string}} props */
const Made = ({ release, service }) => html`<div>
  <dt>${service}@${release.release} <${Digest} digest=${release.image} /></dt>
  <dd><${Moment} at=${release.created} /> by ${release.who}${release.why && `: ${release.why}`}${release.commit && html` <code>${release.commit}</code>`}</dd>
</div>`;

/** @param {{file: any}} props */
function File({ file }) {
  const size = (/** @type {any} */ state) => (state === undefined ? "–" : state.size_bytes === undefined ? state.kind : bytes(state.size_bytes));
  const tone = { added: "ok", removed: "bad" }[/** @type {string} */ (file.change)] ?? "plain";
  return html`<tr>
    <th scope="row"><code>${harmless(file.path)}</code></th>
    <td><${Badge} tone=${tone}>${file.change}<//></td>
    <td>${file.what.join(", ")}</td>
    <td class="number">${size(file.old)}</td>
    <td class="number">${size(file.new)}</td>
    <td class="number">${file.old && file.new && file.old.mode !== file.new.mode ? `${file.old.mode} → ${file.new.mode}` : ""}</td>
  </tr>`;
}

/** @param {{object: string, query: string}} props */
export function DiffView({ object, query }) {
  const wish = new URLSearchParams(query);
  const [from, to] = [Number(wish.get("from")), Number(wish.get("to"))];
  const { value, fault, hint } = useAnswer(() => compared(object, from, to), [object, from, to]);
  const files = (value?.difference.files ?? []).filter((/** @type {any} */ file) => file.what.join() !== "mtime");
  const timed = (value?.difference.files.length ?? 0) - files.length;
  return html`<div class="title"><h1><a href="#/service/${object}">${object}</a> ${from} to ${to}</h1>
      <p class="same"><${Command} words=${["image", "diff", `${object}@${from}`, `${object}@${to}`]} /></p></div>
    <${Fault} text=${fault} hint=${hint} />
    ${!value && !fault && html`<${Empty}>Comparing the images …<//>`}
    ${value &&
    html`<dl class="facts"><${Made} service=${object} release=${value.old} /><${Made} service=${object} release=${value.fresh} /></dl>
      ${value.old.image === value.fresh.image && html`<p class="note">Both have the same image; what differs is how it is run.</p>`}
      <${Section} title="Packages" id="packages">${value.difference.packages.length === 0
        ? html`<${Empty}>The same ones.<//>`
        : html`<${Table} label="Packages" head=${["Package", "Before", "After"]} rows=${value.difference.packages.map((/** @type {any} */ one) => html`<tr><th scope="row">${one.name}</th><td>${one.old ?? html`<span class="dim">none</span>`}</td><td>${one.new ?? html`<span class="dim">none</span>`}</td></tr>`)} />`}<//>
      <${Section} title="Paths" id="paths">${files.length === 0
        ? html`<${Empty}>The same ones.<//>`
        : html`<${Table} label="Paths" head=${["Path", "Change", "In", "Before", "After", "Mode"]} rows=${files.map((/** @type {any} */ file) => html`<${File} file=${file} />`)} />`}
        ${timed > 0 && html`<p class="dim">${count(timed, "more path")} differ in nothing but their time.</p>`}
        ${value.difference.left_off > 0 && html`<p class="dim">${count(value.difference.left_off, "more path")} stand in the answer of the command.</p>`}<//>
      <${Section} title="Configuration" id="configuration">${value.difference.config.length === 0
        ? html`<${Empty}>The same.<//>`
        : html`<${Table} label="Configuration" head=${["Field", "Before", "After"]} rows=${value.difference.config.map((/** @type {any} */ one) => html`<tr><th scope="row">${one.field}</th><td class="wide"><code>${JSON.stringify(one.old)}</code></td><td class="wide"><code>${JSON.stringify(one.new)}</code></td></tr>`)} />`}<//>`}`;
}
