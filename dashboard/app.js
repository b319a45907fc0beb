// The page: which view is shown, the way between them, and how the connection stands.
import { html, render, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { ActionDialog } from "./action.js";
import { signedOut } from "./api.js";
import { AuditView } from "./audit.js";
import { ChurnView } from "./churn.js";
import { DiffView } from "./diff.js";
import { FleetView } from "./fleet.js";
import { InstanceView } from "./instance.js";
import { connection, session, start, status, statusFault } from "./live.js";
import { LogsView } from "./logs.js";
import { Badge, Command, Age } from "./parts.js";
import { ReceiptsView } from "./receipts.js";
import { RolloutView } from "./rollout.js";
import { SchedulesView } from "./schedules.js";
import { ServiceView } from "./service.js";
import { useSignal } from "./signal.js";
import { VolumesView } from "./volumes.js";

/** @type {Record<string, {title: string, view: any, nav?: string, key?: string}>} */
const VIEWS = {
  fleet: { title: "Fleet", view: FleetView, nav: "Fleet", key: "f" },
  logs: { title: "Logs", view: LogsView, nav: "Logs", key: "l" },
  receipts: { title: "Receipts", view: ReceiptsView, nav: "Receipts", key: "r" },
  audit: { title: "Audit", view: AuditView, nav: "Audit", key: "a" },
  schedules: { title: "Schedules", view: SchedulesView, nav: "Schedules", key: "s" },
  churn: { title: "Churn and budget", view: ChurnView, nav: "Churn", key: "c" },
  volumes: { title: "Volumes", view: VolumesView, nav: "Volumes", key: "v" },
  service: { title: "Service", view: ServiceView },
  rollout: { title: "Rollout", view: RolloutView },
  instance: { title: "Server", view: InstanceView },
  diff: { title: "Comparison", view: DiffView },
};

/** What the address asks for: `#/VIEW/OBJECT?QUERY`. */
function place() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, object = ""] = path.split("/");
  let decoded = object;
  try {
    decoded = decodeURIComponent(object);
  } catch {
    // A mistyped address names nothing.
  }
  return { name: Object.hasOwn(VIEWS, name) ? name : "fleet", object: decoded, query };
}

function Theme() {
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const [theme, setTheme] = useState(document.documentElement.dataset.theme ?? system);
  const turn = () => {
    const next = theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem("theme", next);
    setTheme(next);
  };
  return html`<button type="button" class="quiet" onClick=${turn}>${theme === "dark" ? "Light" : "Dark"} theme</button>`;
}

function Connection() {
  const { state, since } = useSignal(connection);
  const tone = { live: "ok", connecting: "info", lost: "bad", "signed out": "bad" }[state];
  return html`<span role="status" class="connection"><${Badge} tone=${tone}>${state}<//>${state === "lost" && html` for <${Age} at=${new Date(since).toISOString()} />`}</span>`;
}

function Notices() {
  const report = useSignal(status);
  const fault = useSignal(statusFault);
  const out = useSignal(signedOut);
  const { state } = useSignal(connection);
  if (out || state === "signed out") {
    return html`<p class="note bad" role="alert">This browser is signed out, or never was signed in. <${Command} words=${["dashboard"]} /> prints a link that signs it in.</p>`;
  }
  const control = report?.control ?? {};
  return html`${fault && html`<p class="note bad" role="alert">What stands here may be old: control does not answer (${fault}). Servers and traffic go on without it.</p>`}
    ${control.journal_fault && html`<p class="note bad" role="alert">Nothing can be written to the ledger, and nothing is decided until it can: ${control.journal_fault}</p>`}
    ${control.settings_fault && html`<p class="note warn">Control runs with other settings than the file has: ${control.settings_fault}</p>`}
    ${control.witness?.fault && html`<p class="note warn">The witness does not take the ledger's head: ${control.witness.fault}</p>`}
    ${report && !report.edge && html`<p class="note bad" role="alert">No edge answers.</p>`}
    ${report?.edge?.succession_failure && html`<p class="note warn">The edge's successor did not take over: ${report.edge.succession_failure}</p>`}`;
}

function App() {
  const [{ name, object, query }, setPlace] = useState(place);
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  const who = useSignal(session);
  const version = useSignal(status)?.control.version;
  useEffect(() => {
    const go = () => {
      const before = main.current?.dataset.place;
      const next = place();
      setPlace(next);
      if (before !== `${next.name}/${next.object}`) {
        scrollTo(0, 0);
        main.current?.focus({ preventScroll: true });
      }
    };
    const press = (/** @type {KeyboardEvent} */ event) => {
      const target = /** @type {HTMLElement} */ (event.target);
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName) || target.closest("dialog")) return;
      if (event.key === "/") {
        event.preventDefault();
        /** @type {HTMLElement | null} */ (document.querySelector("[data-search]"))?.focus();
        return;
      }
      const wanted = Object.entries(VIEWS).find(([, { key }]) => key === event.key);
      if (wanted) location.hash = `#/${wanted[0]}`;
    };
    addEventListener("hashchange", go);
    addEventListener("keydown", press);
    return () => {
      removeEventListener("hashchange", go);
      removeEventListener("keydown", press);
    };
  }, []);
  const { title, view: View } = VIEWS[name];
  useEffect(() => void (document.title = `${object ? `${object} · ` : ""}${title} · Hornero`), [title, object]);
  const entries = Object.entries(VIEWS).filter(([, { nav }]) => nav);
  const skip = (/** @type {Event} */ event) => {
    event.preventDefault();
    main.current?.focus();
  };
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header>
      <a class="brand" href="#/fleet"><img src="/icon.svg" alt="" width="24" height="24" /> Hornero</a>
      <nav aria-label="Views">
        <ul>
          ${entries.map(([to, { nav, key }]) => html`<li><a href="#/${to}" aria-current=${to === name ? "page" : undefined} aria-keyshortcuts=${key} title="Key: ${key}">${nav}</a></li>`)}
        </ul>
      </nav>
      <div class="about">
        <${Connection} />
        <${Theme} />
        <span class="who">${who ? `${who.user} · ${who.role}` : ""}${version ? html`<br />hornero ${version}` : ""}</span>
      </div>
    </header>
    <main id="main" ref=${main} tabindex="-1" data-place="${name}/${object}">
      <${Notices} />
      <${View} key="${name}/${object}" object=${object} query=${query} />
    </main>
    <${ActionDialog} />`;
}

start();
render(html`<${App} />`, /** @type {Element} */ (document.getElementById("app")));
