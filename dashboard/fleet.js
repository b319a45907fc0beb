// The fleet: every service with what was observed of it.
import { html, useEffect, useState } from "./vendor/preact-htm.js";
import { Action } from "./action.js";
import { count, percent, rate, span } from "./format.js";
import { status, watchTraffic } from "./live.js";
import { Age, Badge, Command, Digest, Empty, Section, Table, Until } from "./parts.js";
import { useSignal } from "./signal.js";
import { figures, useTraffic } from "./traffic.js";

/** Servers that were seen to be healthy and get requests; those of a canary are not those that are wanted. @param {any} service */
const observed = (service) => service.instances.filter((/** @type {any} */ one) => one.health === "healthy" && one.state === "serving" && one.release !== service.rollout?.canary?.release).length;

/**
 * How a service stands, from what was observed of its servers.
 * @param {any} service
 * @returns {{tone: import("./parts.js").Tone, word: string}}
 */
export function standing(service) {
  const healthy = observed(service);
  if (service.stopped || service.gave_up_after) return { tone: "bad", word: "halted" };
  if (service.rollout?.paused) return { tone: "warn", word: "rollout paused" };
  if (service.rollout) return { tone: "info", word: "rolling out" };
  if (service.wanted === 0) return { tone: "plain", word: "asleep" };
  if (healthy === 0) return { tone: "bad", word: "down" };
  return healthy < service.wanted ? { tone: "warn", word: "degraded" } : { tone: "ok", word: "healthy" };
}

/** The oldest of the serving servers. @param {any} service */
function oldest(service) {
  const times = service.instances.filter((/** @type {any} */ one) => one.state === "serving").map((/** @type {any} */ one) => one.created);
  return times.sort()[0];
}

/** @param {{service: any}} props */
function Row({ service }) {
  const { tone, word } = standing(service);
  const born = oldest(service);
  const lately = figures(`${service.name}@${service.release}`);
  return html`<tr>
    <th scope="row"><a href="#/service/${service.name}">${service.name}</a></th>
    <td><${Badge} tone=${tone}>${word}<//>${service.rollout && html` <a href="#/rollout/${service.name}">${service.rollout.phase}</a>`}</td>
    <td class="number">${observed(service)} of ${service.wanted}</td>
    <td>${service.release === null ? "–" : html`<a href="#/service/${service.name}">@${service.release}</a>`} <${Digest} digest=${service.image} /></td>
    <td class="number">${born ? html`<${Age} at=${born} />` : "–"}</td>
    <td class="number">${service.proof ? span(service.proof.age_seconds) : html`<span class="dim">none</span>`}</td>
    <td class="number">${lately ? lately.perSecond.toFixed(1) : "–"}</td>
    <td class="number ${lately && lately.errors > 0 ? "bad" : ""}">${lately ? rate(lately.errors, lately.requests) : "–"}</td>
    <td><a href="#/logs/${service.name}">logs<span class="hidden"> of ${service.name}</span></a></td>
  </tr>`;
}

/** @param {{service: any}} props */
function Halt({ service }) {
  const { stopped } = service;
  const whole = stopped && !stopped.service;
  const words = ["resume", ...(whole ? [] : [service.name])];
  return html`<li>
    <p><strong>${whole ? "every service" : service.name}</strong>: ${stopped ? stopped.reason : `${count(service.gave_up_after, "failure")} in a row: nothing more is replaced until somebody asks for it`}</p>
    ${stopped
      ? html`<${Action} label="Let it go on" operation="Resume" path="/v1/resume" body=${whole ? {} : { service: service.name }} words=${words} needsReason once about="Servers are made and removed again, and counting begins anew. Traffic is not touched." />
          <span class="same"><${Command} words=${[...words, "--reason", "…"]} /></span>`
      : html`<span class="same"><${Command} words=${["logs", service.name]} /></span>`}
  </li>`;
}

/** @param {{preview: any}} props */
const Preview = ({ preview }) => html`<tr>
  <th scope="row">${preview.name}</th>
  <td><a href="#/service/${preview.service}">${preview.service}</a>${preview.release ? `@${preview.release}` : ""}</td>
  <td><${Badge} tone=${preview.state === "serving" ? "ok" : preview.state === "unhealthy" ? "bad" : "info"}>${preview.state}<//></td>
  <td class="number">${preview.healthy} of ${preview.wanted}</td>
  <td class="number">${percent(preview.share)}</td>
  <td>${preview.hosts.join(", ") || preview.header}</td>
  <td class="number"><${Until} at=${preview.until} /></td>
  <td><${Action} label="Remove" operation="RemovePreview" danger path="/v1/previews/${preview.name}/remove" body=${{}} words=${["preview", "rm", preview.name]} about="The servers of preview ${preview.name} are taken down." /></td>
</tr>`;

/** @param {{routes: any[]}} props */
const Routes = ({ routes }) => html`<${Table}
  label="Ways in"
  head=${["Listens at", "Protocol", "Host and path", "Leads to", "State"]}
  rows=${routes.map((route) => html`<tr>
    <th scope="row"><code>${route.listen}</code></th>
    <td>${route.protocol}</td>
    <td>${route.host ?? "any"}${route.path_prefix ?? ""}</td>
    <td>${route.redirect_to ? `port ${route.redirect_to}, by TLS` : route.pool} ${route.shares ? route.shares.map((/** @type {any} */ share) => `@${share.release} ${percent(share.weight)}`).join(", ") : route.release ? `@${route.release}` : ""}</td>
    <td>${route.fault ? html`<${Badge} tone=${route.fault.serves ? "warn" : "bad"}>${route.fault.serves ? "serves, at fault" : "down"}<//> ${route.fault.reason}` : html`<${Badge} tone="ok">as it should be<//>`}</td>
  </tr>`)}
/>`;

export function FleetView() {
  const report = useSignal(status);
  useTraffic();
  useEffect(watchTraffic, []);
  const [wanted, setWanted] = useState("");
  if (!report) return html`<h1>Fleet</h1><${Empty}>Asking control what runs …<//>`;
  const services = report.services.filter((/** @type {any} */ one) => one.name.includes(wanted));
  const halted = report.services.filter((/** @type {any} */ one, /** @type {number} */ at) => one.gave_up_after || (one.stopped && (one.stopped.service || report.services.findIndex((/** @type {any} */ other) => other.stopped && !other.stopped.service) === at)));
  const healthy = report.services.filter((/** @type {any} */ one) => standing(one).tone === "ok").length;
  return html`<div class="title"><h1>Fleet</h1>
      <p class="summary">${count(report.services.length, "service")}, ${healthy} healthy · ${count(report.services.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.instances.length, 0), "server")}</p>
      ${report.services.length > 10 && html`<label class="search">Filter <input data-search value=${wanted} onInput=${(/** @type {any} */ event) => setWanted(event.target.value)} /></label>`}
    </div>
    ${halted.length > 0 && html`<${Section} title="Halts" id="halts"><ul class="halts">${halted.map((/** @type {any} */ service) => html`<${Halt} key=${service.name} service=${service} />`)}</ul><//>`}
    ${services.length === 0
      ? html`<${Empty}>${report.services.length === 0 ? html`Nothing runs. <${Command} words=${["up", "DIR"]} /> brings up what a directory declares.` : "No service has that in its name."}<//>`
      : html`<${Table}
          label="Services"
          className="fleet"
          head=${["Service", "State", "Healthy", "Release", "Age", "Proof of rollback", "Requests/s", "Errors", html`<span class="hidden">More</span>`]}
          rows=${services.map((/** @type {any} */ service) => html`<${Row} key=${service.name} service=${service} />`)}
        />`}
    <${Section} title="Ways in" id="routes">${report.routes.length > 0 ? html`<${Routes} routes=${report.routes} />` : html`<${Empty}>No service has a way in from outside.<//>`}<//>
    ${report.previews?.length > 0 &&
    html`<${Section} title="Previews" id="previews"><${Table} label="Previews" head=${["Name", "Shows", "State", "Healthy", "Share", "Reached by", "Ends", html`<span class="hidden">More</span>`]} rows=${report.previews.map((/** @type {any} */ preview) => html`<${Preview} preview=${preview} />`)} /><//>`}
    ${report.limits.length > 0 &&
    html`<${Section} title="What this host can't do" id="limits"><ul class="plain">${report.limits.map((/** @type {any} */ limit) => html`<li><strong>${limit.feature}</strong>: ${limit.reason}${limit.cost && html` <span class="dim">${limit.cost}</span>`}</li>`)}</ul><//>`}`;
}
