// A rollout as it happens: phases with their times, both sets of servers, shares, figures side by side, and the judge's words.
import { html, useEffect, useState } from "./vendor/preact-htm.js";
import { Action } from "./action.js";
import * as api from "./api.js";
import { Chart, Shares } from "./chart.js";
import { millis, percent, rate, span } from "./format.js";
import { begun, listen, now, status, watchTraffic } from "./live.js";
import { Badge, Command, Empty, Fault, InstanceLink, Moment, Section, State, Table } from "./parts.js";
import { useSignal } from "./signal.js";
import { figures, series, useTraffic } from "./traffic.js";

/** Events of a service that its last rollout is looked for in. */
const EVENTS = 500;

/**
 * @typedef {{phase: string, from: string, until: string | null}} Phase
 * @typedef {{id: number, finished: boolean, phases: Phase[], who: string, why: string, to: number | null, from: number | null}} Journal
 */

/**
 * The last rollout in a list of events, phase by phase.
 * @param {any[]} events
 * @returns {Journal | null}
 */
export function journal(events) {
  const steps = events.filter(({ body }) => body.kind === "rollout_step");
  const id = steps.at(-1)?.body.entry.rollout;
  if (id === undefined) return null;
  const own = steps.filter(({ body }) => body.entry.rollout === id);
  /** @type {Phase[]} */
  const phases = [];
  for (const { time, body } of own) {
    const last = phases.at(-1);
    if (last?.phase === body.entry.phase) continue;
    if (last) last.until = time;
    phases.push({ phase: body.entry.phase, from: time, until: null });
  }
  const last = own[own.length - 1];
  const { state, finished } = last.body.entry;
  return { id, finished, phases, who: own[0].who, why: own[0].why, to: state?.to ?? null, from: state?.from ?? null };
}

/** The events of a service, those that come included. @param {string} service */
function useEvents(service) {
  const [events, setEvents] = useState(/** @type {any[]} */ ([]));
  const [fault, setFault] = useState("");
  const connection = useSignal(begun);
  useEffect(() => {
    let wanted = true;
    const add = (/** @type {any[]} */ fresh) => {
      if (!wanted) return;
      setEvents((before) => {
        const known = new Set(before.map(({ sequence }) => sequence));
        const more = fresh.filter(({ sequence }) => !known.has(sequence));
        return more.length === 0 ? before : [...before, ...more].sort((one, other) => one.sequence - other.sequence).slice(-EVENTS);
      });
    };
    const end = listen((event) => {
      const { body } = event;
      if (body.service === service || body.entry?.service === service || body.receipt?.service === service) add([event]);
    });
    (async () => {
      try {
        for await (const batch of api.lines(`/v1/audit?last=${EVENTS}&service=${encodeURIComponent(service)}`)) add(batch.filter(Boolean).map(api.parsed));
        setFault("");
      } catch (error) {
        setFault(/** @type {Error} */ (error).message);
      }
    })();
    return () => {
      wanted = false;
      end();
    };
  }, [service, connection]);
  return { events, fault };
}

/** @param {{phases: Phase[], finished: boolean}} props */
function Phases({ phases, finished }) {
  const time = useSignal(now);
  return html`<ol class="phases">${phases.map(({ phase, from, until }, at) => {
    const current = at === phases.length - 1 && !finished;
    const ms = (until ? Date.parse(until) : time) - Date.parse(from);
    const over = at === phases.length - 1 && finished;
    return html`<li class=${current ? "current" : ""} aria-current=${current ? "step" : undefined}><strong>${phase.replaceAll("_", " ")}</strong> <span>${over ? html`<${Moment} at=${from} />` : current ? span(ms / 1000) : millis(Math.max(0, ms))}</span></li>`;
  })}</ol>`;
}

/**
 * Figures of releases, side by side.
 * @param {{service: string, releases: number[], serving: number | null}} props
 */
export function FigureTable({ service, releases, serving }) {
  useTraffic();
  const rows = releases.map((release) => ({ release, shown: figures(`${service}@${release}`) }));
  if (rows.every(({ shown }) => shown === null)) return html`<${Empty}>The edge has counted nothing yet.<//>`;
  return html`<${Table}
    label="Figures of the last seconds"
    head=${["Release", "Requests/s", "Errors", "p50", "p99", "In flight"]}
    rows=${rows.map(({ release, shown }) => html`<tr key=${release}>
      <th scope="row">@${release} ${release === serving ? html`<${Badge} tone="ok">serves<//>` : ""}</th>
      <td class="number">${shown ? shown.perSecond.toFixed(1) : "–"}</td>
      <td class="number ${shown && shown.errors > 0 ? "bad" : ""}">${shown ? rate(shown.errors, shown.requests) : "–"}</td>
      <td class="number">${shown?.p50 ? millis(shown.p50) : "–"}</td>
      <td class="number">${shown?.p99 ? millis(shown.p99) : "–"}</td>
      <td class="number">${shown ? shown.inFlight : "–"}</td>
    </tr>`)}
  />`;
}

/** @param {{service: string, releases: number[]}} props */
function Charts({ service, releases }) {
  useTraffic();
  const lines = (/** @type {(of: import("./traffic.js").Figures) => number | null} */ value) =>
    releases.map((release) => ({ name: `release ${release}`, points: series(`${service}@${release}`).map(({ at, figures: of }) => ({ at, value: value(of) })) }));
  return html`<div class="charts">
    <${Chart} title="Requests a second" lines=${lines((of) => of.perSecond)} text=${(/** @type {number} */ value) => value.toFixed(1)} />
    <${Chart} title="Errors" lines=${lines((of) => (of.requests > 0 ? of.errors / of.requests : 0))} text=${(/** @type {number} */ value) => `${(value * 100).toFixed(2)}%`} />
    <${Chart} title="p99 of latency" lines=${lines((of) => of.p99)} text=${millis} />
  </div>`;
}

/** @param {{title: string, instances: any[], kind: "old" | "new"}} props */
const Set_ = ({ title, instances, kind }) => html`<div class="set ${kind}">
  <h3>${title}</h3>
  ${instances.length === 0 ? html`<p class="empty">none</p>` : html`<ul>${instances.map((one) => html`<li key=${one.id}><${InstanceLink} id=${one.id} /> <${State} word=${one.state} /> <${State} word=${one.health} />${one.health_error && html`<p class="dim">${one.health_error}</p>`}</li>`)}</ul>`}
</div>`;

const TONES = /** @type {Record<string, import("./parts.js").Tone>} */ ({ better: "ok", same: "ok", worse: "bad", inconclusive: "warn", promoted: "info" });

/** @param {{canary: any}} props */
const Judge = ({ canary }) => html`<${Section} title="The judge" id="judge">
  <p>Step ${canary.step} of ${canary.steps}: release ${canary.release} gets ${percent(canary.weight)} of the requests. ${canary.judgement ? html`<${Badge} tone=${TONES[canary.judgement.verdict] ?? "plain"}>${canary.judgement.verdict}<//>` : html`<span class="dim">Nothing is known of it yet.</span>`}</p>
  ${canary.judgement && html`<ul class="plain reasons">${canary.judgement.reasons.map((/** @type {string} */ reason) => html`<li>${reason}</li>`)}</ul>`}
  ${canary.judged?.length > 0 && html`<h3>Steps before</h3><ul class="plain">${canary.judged.map((/** @type {any} */ step) => html`<li>${percent(step.weight)} <${Badge} tone=${TONES[step.verdict] ?? "plain"}>${step.verdict}<//> <${Moment} at=${step.judged} /> <span class="dim">${step.reasons.join("; ")}</span></li>`)}</ul>`}
<//>`;

/** @param {{service: any}} props */
function Steering({ service }) {
  const { name, rollout } = service;
  const act = (/** @type {string} */ label, /** @type {string} */ steer, /** @type {string[]} */ words, /** @type {string} */ about, danger = false) =>
    html`<${Action} key=${steer} label=${label} operation="Steer" danger=${danger} path="/v1/steer" body=${{ service: name, steer }} words=${["rollout", ...words.slice(0, 1), name, ...words.slice(1)]} about=${about} />`;
  return html`<div class="buttons steering">
    ${rollout.paused
      ? act("Resume", "resume", ["resume"], "The rollout goes on by itself again.")
      : act("Pause", "pause", ["pause"], "The rollout stays where it is, with the servers and shares that it has, until somebody resumes it; after its time it is taken back.")}
    ${act("Promote", "promote", ["promote"], "The rollout takes its next step now, whatever is known of this one.")}
    ${act("Promote fully", "promote_fully", ["promote", "--full"], "All requests go to the new release, after every check of the switch itself.")}
    ${act("Abort", "abort", ["abort"], "The rollout ends: back to what served before, and the new servers are taken down.", true)}
  </div>
  <p class="same">In a terminal: <${Command} words=${["rollout", "promote", name]} /> <${Command} words=${["rollout", "abort", name]} /></p>`;
}

/** @param {{object: string}} props */
export function RolloutView({ object }) {
  const report = useSignal(status);
  const { events, fault } = useEvents(object);
  useEffect(watchTraffic, []);
  const service = report?.services.find((/** @type {any} */ one) => one.name === object);
  const past = journal(events);
  if (!report) return html`<h1>Rollout</h1><${Empty}>Asking control what runs …<//>`;
  const rollout = service?.rollout;
  const own = past && (!rollout || past.id === rollout.id) ? past : null;
  const to = own?.to ?? rollout?.canary?.release ?? rollout?.rolling?.release ?? null;
  const instances = service?.instances ?? [];
  const isNew = (/** @type {any} */ one) => (to === null ? one.release !== service.release : one.release === to);
  const oldRelease = own ? own.from : (service?.release ?? null);
  const shares = report.routes.find((/** @type {any} */ route) => route.pool.split("/")[0] === object && route.shares)?.shares;
  const failed = events.filter(({ body }) => body.kind === "effect_refused").at(-1);
  return html`<div class="title"><h1>Rollout${own ? ` ${own.id}` : ""} of <a href="#/service/${object}">${object}</a></h1>
      ${rollout ? html`<${Badge} tone=${rollout.paused ? "warn" : "info"}>${rollout.paused ? "paused" : rollout.phase}<//>` : html`<${Badge}>none under way<//>`}
    </div>
    <${Fault} text=${fault} />
    ${own && html`<p class="dim">${own.from === null ? `release ${own.to}` : html`<a href="#/diff/${object}?from=${own.from}&to=${own.to}">release ${own.from} to release ${own.to}</a>`}, asked for by ${own.who}${own.why && `: ${own.why}`}</p>`}
    ${rollout && html`<${Steering} service=${service} />`}
    ${service && !rollout && service.release > 1 && html`<div class="buttons steering"><${Action} label="Roll back" operation="Rollback" danger path="/v1/rollback" body=${{ service: object }} words=${["rollback", object]} about="${object} goes back to the last proven release before ${service.release}, through the same path as a rollout. No request is lost." /></div>`}
    ${rollout?.paused && html`<p class="note warn">Paused by ${rollout.paused.who}${rollout.paused.why && `: ${rollout.paused.why}`}, since <${Moment} at=${rollout.paused.since} />; taken back at <${Moment} at=${rollout.paused.until} /> if nobody resumes or promotes it.</p>`}
    ${rollout?.batched && html`<p class="note warn">It goes batch by batch for want of room.</p>`}
    ${own ? html`<${Section} title=${rollout ? "Phases" : "Phases of the last one"} id="phases"><${Phases} phases=${own.phases} finished=${own.finished} /><//>` : html`<${Empty}>No rollout of ${object} stands in the last ${EVENTS} events of it.<//>`}
    ${rollout?.rolling && html`<p>Batch ${rollout.rolling.batch}: ${rollout.rolling.instances} of ${rollout.rolling.wanted} servers, ${percent(rollout.rolling.weight)} of the requests.</p>`}
    ${rollout?.canary && html`<${Judge} canary=${rollout.canary} />`}
    ${service &&
    html`<${Section} title="Requests, old beside new" id="traffic">
        ${shares && html`<${Shares} shares=${shares} oldRelease=${oldRelease} />`}
        <${FigureTable} service=${object} releases=${[oldRelease, to].filter((/** @type {any} */ one, /** @type {number} */ at, /** @type {any[]} */ all) => one !== null && all.indexOf(one) === at)} serving=${service.release} />
        ${rollout && html`<${Charts} service=${object} releases=${[oldRelease ?? -1, to ?? -1]} />`}
      <//>
      <${Section} title="Both sets" id="sets"><div class="sets">
        <${Set_} title=${oldRelease === null ? "Before" : `Release ${oldRelease}`} kind="old" instances=${instances.filter((/** @type {any} */ one) => !isNew(one))} />
        <${Set_} title=${to === null ? "New" : `Release ${to}`} kind="new" instances=${instances.filter(isNew)} />
      </div><//>`}
    ${rollout?.interventions?.length > 0 && html`<${Section} title="What people did" id="people"><ul class="plain">${rollout.interventions.map((/** @type {any} */ one) => html`<li><${Moment} at=${one.at} /> <strong>${one.did.replaceAll("_", " ")}</strong> by ${one.who} while ${one.phase}${one.why && `: ${one.why}`}</li>`)}</ul><//>`}
    ${failed && html`<p class="note bad">The watchdog refused “${failed.body.effect}”: ${failed.body.reason} (${failed.body.invariant})</p>`}`;
}
