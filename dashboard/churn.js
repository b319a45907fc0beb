// Churn: servers made and removed, why and because of whom, beside the limits.
import { html, useState } from "./vendor/preact-htm.js";
import { Action } from "./action.js";
import * as api from "./api.js";
import { span } from "./format.js";
import { head, status } from "./live.js";
import { Badge, Command, Empty, Fault, Section, Table, useAnswer } from "./parts.js";
import { since } from "./logs.js";
import { useSignal } from "./signal.js";

const SCOPES = /** @type {Record<string, string>} */ ({ unrequested: "by itself", requested: "asked for", load: "for its load" });

/** @param {{of: any}} props */
const Use = ({ of }) => html`<li>
  <span>${SCOPES[of.scope] ?? of.scope}, ${of.window === "hour" ? "an hour" : "a day"}</span>
  <meter min="0" max=${of.limit} value=${of.made} high=${of.limit * 0.8} aria-label="${of.made} of ${of.limit} ${SCOPES[of.scope] ?? of.scope} within ${of.window === "hour" ? "an hour" : "a day"}"></meter>
  <span class="number">${of.made} of ${of.limit.toLocaleString("en")}</span>
</li>`;

/** Servers made in each hour. @param {{hours: any[]}} props */
function Hours({ hours }) {
  const top = Math.max(1, ...hours.map(({ made }) => made));
  const shown = hours.slice(-48);
  return html`<svg class="hours" viewBox="0 0 ${48 * 5} 24" role="img" aria-label="Made by the hour: ${shown.map(({ from, made }) => `${from.slice(11, 16)} ${made}`).join(", ") || "none"}">
    ${shown.map(({ made }, at) => html`<rect x=${at * 5} width="4" y=${24 - (made / top) * 22} height=${(made / top) * 22 + 1} />`)}
  </svg>`;
}

export function ChurnView() {
  const [span_, setSpan] = useState("1d");
  const last = useSignal(head);
  const report = useSignal(status);
  const { value, fault, hint } = useAnswer(() => api.get(`/v1/churn?since=${encodeURIComponent(since(span_))}`), [span_], [last]);
  const stops = (report?.services ?? []).filter((/** @type {any} */ one) => one.stopped);
  return html`<div class="title"><h1>Churn and budget</h1>
      <label class="search">Since <select onChange=${(/** @type {any} */ event) => setSpan(event.target.value)}>${[["1h", "an hour"], ["1d", "a day"], ["7d", "a week"], ["30d", "a month"]].map(([name, text]) => html`<option value=${name} selected=${name === span_}>${text}</option>`)}</select></label>
      <p class="same"><${Command} words=${["churn", "--since", span_]} /></p></div>
    <${Fault} text=${fault} hint=${hint} />
    ${stops.map((/** @type {any} */ one) => html`<p class="note bad">${one.name} is halted: ${one.stopped.reason} <${Action} label="Let it go on" operation="Resume" path="/v1/resume" body=${one.stopped.service ? { service: one.name } : {}} words=${["resume", ...(one.stopped.service ? [one.name] : [])]} needsReason once about="Servers are made and removed again, and counting begins anew." /></p>`)}
    ${value && html`<${Section} title="The whole home" id="home"><ul class="uses">${value.home.filter((/** @type {any} */ of) => of.limit > 0).map((/** @type {any} */ of) => html`<${Use} of=${of} />`)}</ul><//>
      <${Section} title="Services" id="services">${value.services.length === 0
        ? html`<${Empty}>No service was ever up.<//>`
        : html`<${Table} label="Churn by service" head=${["Service", "Made", "Removed", "Failed", "Running", "Server time", "GiB hours", "By the hour", "Budget by itself, an hour"]} rows=${value.services.map((/** @type {any} */ one) => {
            const own = one.budget.find((/** @type {any} */ of) => of.scope === "unrequested" && of.window === "hour");
            return html`<tr key=${one.name}><th scope="row"><a href="#/service/${one.name}">${one.name}</a></th><td class="number">${one.made}</td><td class="number">${one.removed}</td><td class="number ${one.failed > 0 ? "bad" : ""}">${one.failed}</td><td class="number">${one.running}</td><td class="number">${span(one.seconds)}</td><td class="number">${one.memory_gib_hours.toFixed(2)}</td><td><${Hours} hours=${one.hours} /></td><td>${own ? html`${own.made} of ${own.limit} ${own.made >= own.limit ? html`<${Badge} tone="bad">used up<//>` : ""}` : "–"}</td></tr>`;
          })} />`}<//>
      <${Section} title="Why" id="why"><${Table} label="Causes" head=${["Service", "Made", "Who", "Why"]} rows=${value.services.flatMap((/** @type {any} */ one) => one.causes.map((/** @type {any} */ cause) => html`<tr><th scope="row">${one.name}</th><td class="number">${cause.made}</td><td>${cause.who || "–"}</td><td class="wide">${cause.who ? cause.why : "other reasons"}</td></tr>`))} /><//>`}`;
}
