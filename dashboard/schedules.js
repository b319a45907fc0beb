// What is done by itself when its time comes round: schedules, jobs, freezes, and one-off work under way.
import { html } from "./vendor/preact-htm.js";
import { Action } from "./action.js";
import { status } from "./live.js";
import { Badge, Command, Empty, InstanceLink, Moment, Section, Table, Until } from "./parts.js";
import { useSignal } from "./signal.js";

/** @param {{run: any}} props */
const LastRun = ({ run }) => {
  if (!run) return html`<span class="dim">never</span>`;
  const word = run.ended ? (run.result ?? (run.exit === 0 ? "done" : "failed")) : "under way";
  const text = typeof word === "string" ? word : JSON.stringify(word);
  const tone = !run.ended ? "info" : /fail|refus/.test(text) || (run.exit ?? 0) !== 0 ? "bad" : "ok";
  return html`<${Badge} tone=${tone}>${text.replaceAll("_", " ")}<//> <${Moment} at=${run.started} />${run.run && html` <${InstanceLink} id=${run.run} />`}${run.detail && html` <span class="dim">${run.detail}</span>`}`;
};

/** @param {{skipped: any}} props */
const Skipped = ({ skipped }) => (skipped ? html`<${Moment} at=${skipped.planned} /> <span class="dim">${skipped.reason ?? skipped.why ?? ""}${skipped.missed ? `, and ${skipped.missed} before` : ""}</span>` : html`<span class="dim">none</span>`);

export function SchedulesView() {
  const report = useSignal(status);
  if (!report) return html`<h1>Schedules</h1><${Empty}>Asking control what runs …<//>`;
  const { schedules = [], jobs = [], freezes = [], runs = [] } = report;
  return html`<div class="title"><h1>Schedules</h1></div>
    <${Section} title="Schedules" id="schedules" aside=${html`<${Command} words=${["schedule", "ls"]} />`}>
      ${schedules.length === 0
        ? html`<${Empty}>No directory declares a schedule.<//>`
        : html`<${Table} label="Schedules" head=${["Name", "Does", "To", "When", "Next", "Last time", "Left out"]} rows=${schedules.map((/** @type {any} */ one) => html`<tr>
            <th scope="row">${one.name}</th><td>${one.do.replaceAll("_", " ")}</td><td>${one.services?.join(", ") ?? "all of its directory"}</td>
            <td><code>${one.when}</code> ${one.timezone}</td><td class="number">${one.next ? html`<${Until} at=${one.next} />` : "–"}</td>
            <td class="wide"><${LastRun} run=${one.running ?? one.last} /></td><td><${Skipped} skipped=${one.skipped} /></td></tr>`)} />`}
    <//>
    <${Section} title="Jobs" id="jobs" aside=${html`<${Command} words=${["job", "ls"]} />`}>
      ${jobs.length === 0
        ? html`<${Empty}>No directory declares a job.<//>`
        : html`<${Table} label="Jobs" head=${["Name", "Image", "When", "Next", "Last run", "Left out", html`<span class="hidden">More</span>`]} rows=${jobs.map((/** @type {any} */ one) => html`<tr>
            <th scope="row">${one.name}</th><td>${one.image_name}</td><td>${one.schedule ? html`<code>${one.schedule}</code> ${one.timezone}` : "when asked"}</td>
            <td class="number">${one.next ? html`<${Until} at=${one.next} />` : "–"}</td>
            <td class="wide">${one.running ? html`<${Badge} tone="info">under way<//> <${InstanceLink} id=${one.running} />` : html`<${LastRun} run=${one.last} />`}</td><td><${Skipped} skipped=${one.skipped} /></td>
            <td><${Action} label="Run now" operation="RunJob" once path="/v1/jobs/${one.name}/runs" body=${{}} words=${["job", "run", one.name]} about="Job ${one.name} is run once, now." /></td></tr>`)} />`}
    <//>
    ${freezes.length > 0 &&
    html`<${Section} title="Freezes" id="freezes"><${Table} label="Freezes" head=${["Name", "State", "Reason", "Declared in"]} rows=${freezes.map((/** @type {any} */ one) => html`<tr><th scope="row">${one.freeze.name}</th><td>${one.holds ? html`<${Badge} tone="warn">holds<//>` : html`<${Badge}>not now<//>`}</td><td class="wide">${one.freeze.reason ?? one.freeze.why ?? ""}</td><td><code>${one.directory}</code></td></tr>`)} /><//>`}
    ${runs.length > 0 &&
    html`<${Section} title="One-off work under way" id="runs"><${Table} label="One-off work" head=${["Run", "Command", "By", "Began", "Ended at the latest"]} rows=${runs.map((/** @type {any} */ one) => html`<tr><th scope="row"><${InstanceLink} id=${one.id} /></th><td class="wide"><code>${one.command.join(" ")}</code></td><td>${one.by.who}${one.by.why && `: ${one.by.why}`}</td><td><${Moment} at=${one.started} /></td><td><${Moment} at=${one.deadline} /></td></tr>`)} /><//>`}`;
}
