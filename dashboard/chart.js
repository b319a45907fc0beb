// Two lines over the last two minutes: what served before, and what is new.
import { html } from "./vendor/preact-htm.js";

const [WIDTH, HEIGHT, SPAN_MS] = [320, 72, 120_000];

/**
 * @typedef {{name: string, points: {at: number, value: number | null}[]}} Line
 * @param {{title: string, lines: Line[], text: (value: number) => string}} props
 */
export function Chart({ title, lines, text }) {
  const values = lines.flatMap(({ points }) => points.map(({ value }) => value ?? 0));
  const top = Math.max(...values, 1e-9);
  const end = Math.max(...lines.flatMap(({ points }) => points.map(({ at }) => at)), 0);
  const x = (/** @type {number} */ at) => WIDTH - ((end - at) / SPAN_MS) * WIDTH;
  const y = (/** @type {number} */ value) => HEIGHT - 2 - (value / top) * (HEIGHT - 12);
  const latest = lines.map(({ name, points }) => {
    const value = points.at(-1)?.value;
    return `${name} ${value === null || value === undefined ? "–" : text(value)}`;
  });
  return html`<figure class="chart">
    <figcaption>${title} <span>top ${values.some((value) => value > 0) ? text(top) : "–"}</span></figcaption>
    <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}: ${latest.join(", ")}" preserveAspectRatio="none">
      <line x1="0" x2=${WIDTH} y1=${HEIGHT - 1} y2=${HEIGHT - 1} class="axis" />
      ${lines.map(({ points }, at) => {
        const drawn = points.filter(({ value }) => value !== null).map(({ at, value }) => `${x(at).toFixed(1)},${y(/** @type {number} */ (value)).toFixed(1)}`);
        return html`<polyline class=${at === 0 ? "old" : "new"} points=${drawn.join(" ")} />`;
      })}
    </svg>
  </figure>`;
}

/**
 * Shares of the requests, as a bar.
 * @param {{shares: {release: number, weight: number}[], oldRelease?: number | null}} props
 */
export function Shares({ shares, oldRelease }) {
  const all = shares.reduce((sum, { weight }) => sum + weight, 0) || 1;
  const text = shares.map(({ release, weight }) => `release ${release}: ${Number(((weight / all) * 100).toFixed(2))}%`).join(", ");
  let from = 0;
  return html`<div class="shares">
    <svg viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="Shares of the requests: ${text}">
      ${shares.map(({ release, weight }) => {
        const width = (weight / all) * 100;
        from += width;
        return html`<rect x=${from - width} y="0" width=${width} height="8" class=${release === oldRelease ? "old" : "new"} />`;
      })}
    </svg>
    <p>${shares.map(({ release, weight }, at) => html`${at > 0 ? " · " : ""}<span class=${release === oldRelease ? "old" : "new"}>release ${release}</span> ${Number(((weight / all) * 100).toFixed(2))}%`)}</p>
  </div>`;
}
