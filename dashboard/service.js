// One service: its servers, its releases, and what can be done with it.
import { html, useEffect, useState } from "./vendor/preact-htm.js";
import { Action } from "./action.js";
import * as api from "./api.js";
import { standing } from "./fleet.js";
import { count, span } from "./format.js";
import { head, status, watchTraffic } from "./live.js";
import { Age, Badge, Command, Digest, Empty, Fault, InstanceLink, Moment, Section, State, Table, Until, useAnswer } from "./parts.js";
import { useSignal } from "./signal.js";
import { FigureTable } from "./rollout.js";

/**
 * Servers in a table.
 * @param {{instances: any[], label?: string}} props
 */
export const Instances = ({ instances, label = "Servers" }) => html`<${Table}
  label=${label}
  head=${["Server", "Release", "State", "Health", "Age", "Address", "Replaced for its age"]}
  rows=${instances.map((one) => html`<tr key=${one.id}>
    <th scope="row"><${InstanceLink} id=${one.id} /></th>
    <td>@${one.release} <${Digest} digest=${one.image} /></td>
    <td><${State} word=${one.state} />${one.cause && html` <span class="dim">${one.cause}</span>`}</td>
    <td><${State} word=${one.health} />${one.health_error && html` <span class="dim">${one.health_error}</span>`}</td>
    <td class="number"><${Age} at=${one.created} /></td>
    <td><code>${one.address ?? "–"}</code></td>
    <td class="number">${one.recycling ?? (one.recycle_due ? html`<${Until} at=${one.recycle_due} />` : "–")}</td>
  </tr>`)}
/>`;

/** @param {{service: string}} props */
function Drift({ service }) {
  const [state, setState] = useState(/** @type {{working?: boolean, fault?: string, report?: any, at?: string}} */ ({}));
  const ask = async () => {
    setState({ working: true });
    try {
      setState({ report: await api.post("/v1/verify", { service }), at: new Date().toISOString() });
    } catch (error) {
      setState({ fault: /** @type {Error} */ (error).message });
    }
  };
  const instances = (state.report?.services ?? []).flatMap((/** @type {any} */ one) => one.instances);
  const drifted = instances.filter((/** @type {any} */ one) => !one.ok);
  return html`<${Section} title="Drift" id="drift" aside=${html`<button type="button" onClick=${ask} disabled=${state.working}>Compare with the images</button>`}>
    <${Fault} text=${state.fault} />
    ${state.working && html`<p role="status">Comparing every server with its image …</p>`}
    ${!state.report && !state.working && html`<${Empty}>Not looked at since this page was opened. <${Command} words=${["verify", service]} /><//>`}
    ${state.report && html`<p role="status"><${Badge} tone=${drifted.length > 0 ? "bad" : "ok"}>${drifted.length > 0 ? `${drifted.length} drifted` : "no drift"}<//> in ${count(instances.length, "server")}, <${Age} at=${state.at} /> ago</p>`}
    ${drifted.map((/** @type {any} */ one) => html`<h3><${InstanceLink} id=${one.id} /></h3><ul class="plain">${one.findings.map((/** @type {any} */ finding) => html`<li><strong>${finding.kind}</strong> <code>${finding.path}</code> <span class="dim">expected ${finding.expected || "nothing"}, found ${finding.found || "nothing"}</span></li>`)}</ul>`)}
  <//>`;
}

/** @param {{service: any, release: any}} props */
const Release = ({ service, release }) => html`<tr>
  <th scope="row">${service.name}@${release.release}</th>
  <td>${release.serving ? html`<${Badge} tone="ok">serves<//>` : release.failed ? html`<${Badge} tone="bad">failed<//>` : release.proven ? html`<${Badge}>proven<//>` : html`<${Badge} tone="warn">unproven<//>`}</td>
  <td><${Digest} digest=${release.image} /></td>
  <td><${Moment} at=${release.created} /></td>
  <td>${release.who}</td>
  <td class="wide">${release.why}${release.commit && html` <code>${release.commit.slice(0, 12)}</code>`}
    ${release.failed && html`<p class="note bad">${release.failed.reason}</p>`}
    ${release.canary?.map((/** @type {any} */ step) => html`<p class="dim">canary at ${step.weight / 100}%: ${step.verdict}</p>`)}
    ${release.interventions?.map((/** @type {any} */ one) => html`<p class="dim">${one.did.replaceAll("_", " ")} by ${one.who} while ${one.phase}${one.why && `: ${one.why}`}</p>`)}</td>
  <td>${release.release > 1 && html`<a href="#/diff/${service.name}?from=${release.release - 1}&to=${release.release}">changes<span class="hidden"> of release ${release.release}</span></a> `}${release.proven && !release.serving && html`<${Action} label="Roll back to @${release.release}" operation="Rollback" danger path="/v1/rollback" body=${{ service: service.name, to: release.release }} words=${["rollback", service.name, "--to", String(release.release)]} about="${service.name} goes back to release ${release.release}, through the same path as a rollout. No request is lost." />`}</td>
</tr>`;

/** @param {{object: string}} props */
export function ServiceView({ object }) {
  const report = useSignal(status);
  const last = useSignal(head);
  useEffect(watchTraffic, []);
  const service = report?.services.find((/** @type {any} */ one) => one.name === object);
  const history = useAnswer(() => api.get(`/v1/services/${encodeURIComponent(object)}/history`), [object], [service?.release, service?.rollout?.phase, last]);
  if (!report) return html`<h1>${object}</h1><${Empty}>Asking control what runs …<//>`;
  const { tone, word } = service ? standing(service) : { tone: "plain", word: "not up" };
  const name = object;
  return html`<div class="title"><h1>${name}</h1><${Badge} tone=${tone}>${word}<//>
      ${service && html`<div class="buttons">
        <${Action} label="Replace servers" operation="Recycle" path="/v1/recycle" body=${{ object: name }} words=${["recycle", name]} about="All servers of ${name} are replaced by new ones of the same release, one after the other." />
        <${Action} label="Rehearse rollback" operation="Rehearse" once path="/v1/rehearsals" body=${{ service: name }} words=${["rehearse", name]} about="A server of the release before is started beside what serves, has to become healthy, and is removed again." />
        <a class="button" href="#/logs/${name}">Logs</a>
        <a class="button" href="#/rollout/${name}">Rollout</a>
      </div>`}
    </div>
    ${service &&
    html`<dl class="facts">
        <div><dt>Release</dt><dd>${service.release === null ? "none" : `@${service.release}`} <${Digest} digest=${service.image} /></dd></div>
        <div><dt>Servers wanted</dt><dd>${service.wanted}${service.scale ? html` <span class="dim">of ${service.scale.minimum} to ${service.scale.maximum}, by load${service.scale.why ? `: ${service.scale.why}` : ""}</span>` : ""}</dd></div>
        <div><dt>Proof of rollback</dt><dd>${service.proof ? html`${span(service.proof.age_seconds)} ago, took ${service.proof.seconds.toFixed(1)} s` : "none"}${service.rehearsal?.counts ? html` <${Badge} tone="bad">last rehearsal failed<//> ${service.rehearsal.failure}` : ""}</dd></div>
        <div><dt>Inside</dt><dd>${service.internal ? html`<code>${service.internal.name}</code> ${service.internal.address}` : "–"}</dd></div>
        <div><dt>Declared in</dt><dd>${service.directory ? html`<code>${service.directory}</code>` : "–"}</dd></div>
      </dl>
      ${service.scale?.held_back && html`<p class="note warn">${service.scale.held_back}</p>`}
      <${Section} title="Requests" id="requests"><${FigureTable} service=${name} releases=${[...new Set(service.instances.map((/** @type {any} */ one) => one.release))]} serving=${service.release} /><//>
      <${Section} title="Servers" id="servers">${service.instances.length > 0 ? html`<${Instances} instances=${service.instances} />` : html`<${Empty}>No server of it runs.<//>`}<//>
      <${Drift} service=${name} />`}
    <${Section} title="Releases" id="releases">
      <${Fault} text=${history.fault} hint=${history.hint} />
      ${history.value && html`<${Table} label="Releases" head=${["Release", "State", "Image", "Made", "By", "Why", html`<span class="hidden">More</span>`]} rows=${history.value.map((/** @type {any} */ release) => html`<${Release} key=${release.release} service=${{ name }} release=${release} />`)} />`}
    <//>`;
}
