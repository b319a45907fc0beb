// Receipts: the signed record of each switch, verified in the browser.
import { html, useState } from "./vendor/preact-htm.js";
import * as api from "./api.js";
import { receiptHolds } from "./chain.js";
import { millis } from "./format.js";
import { head } from "./live.js";
import { Badge, Command, Digest, Empty, Fault, Moment, Table, useAnswer } from "./parts.js";
import { useSignal } from "./signal.js";

/** Receipts that are shown at once. */
const SHOWN = 200;

/** @param {{id: number}} props */
function Signature({ id }) {
  const [holds, setHolds] = useState(/** @type {boolean | null | undefined} */ (undefined));
  const [fault, setFault] = useState("");
  const verify = async () => {
    try {
      setHolds(await receiptHolds(await api.text(`/v1/receipts/${id}`)));
    } catch (error) {
      setFault(/** @type {Error} */ (error).message);
    }
  };
  if (fault) return html`<span role="alert">${fault}</span>`;
  if (holds === undefined) return html`<button type="button" class="quiet" onClick=${verify}>Verify<span class="hidden"> receipt ${id}</span></button>`;
  if (holds === null) return html`<${Badge} tone="warn">this browser can't<//>`;
  return html`<span role="status"><${Badge} tone=${holds ? "ok" : "bad"}>${holds ? "signed by the key in it" : "signature is wrong"}<//></span>`;
}

/** @param {{receipt: any}} props */
const Row = ({ receipt }) => html`<tr>
  <th scope="row" class="number">${receipt.id}</th>
  <td><a href="#/service/${receipt.service}">${receipt.service}</a></td>
  <td>${receipt.from === null ? "nothing" : `@${receipt.from}`} → @${receipt.to} <${Digest} digest=${receipt.to_image} />${receipt.taken_back && html`<p class="note bad">taken back: ${receipt.taken_back}</p>`}</td>
  <td><${Moment} at=${receipt.switched} /></td>
  <td class="number">${millis(receipt.switch_ms)}</td>
  <td class="number">${millis(receipt.total_ms)}</td>
  <td class="number ${receipt.requests_failed > 0 ? "bad" : ""}">${receipt.requests_failed}</td>
  <td class="number">${receipt.drained}${receipt.cut_off > 0 ? ` (${receipt.cut_off} cut off)` : ""}</td>
  <td class="wide">${receipt.who}${receipt.why && `: ${receipt.why}`}</td>
  <td><${Signature} id=${receipt.id} /></td>
</tr>`;

/** @param {{object: string}} props */
export function ReceiptsView({ object }) {
  const last = useSignal(head);
  const path = `/v1/receipts${object ? `?service=${encodeURIComponent(object)}` : ""}`;
  const { value, fault, hint } = useAnswer(() => api.get(path), [path], [last]);
  return html`<div class="title"><h1>Receipts${object && ` of ${object}`}</h1><p class="same"><${Command} words=${["receipt", ...(object ? ["--service", object] : [])]} /></p></div>
    <${Fault} text=${fault} hint=${hint} />
    ${value?.length === 0 && html`<${Empty}>Nothing has been switched yet.<//>`}
    ${value?.length > 0 && html`<${Table} label="Receipts, newest first" head=${["No.", "Service", "Switch", "When", "Took", "In all", "Failed", "Drained", "Who and why", "Signature"]} rows=${value.slice(0, SHOWN).map((/** @type {any} */ receipt) => html`<${Row} key=${receipt.id} receipt=${receipt} />`)} />`}
    ${value?.length > SHOWN && html`<p class="dim">The newest ${SHOWN} of ${value.length}.</p>`}`;
}
