// A list of which only what is seen is drawn, however long it is.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact-htm.js";

export const ROW_PX = 22;
/** Rows that are drawn beyond the edges. */
const BEYOND = 8;
/** Browsers lay out nothing taller than some 17 million pixels: longer lists are scrolled on a smaller scale. */
const TALLEST_PX = 8_000_000;

/**
 * @param {object} props
 * @param {number} props.count
 * @param {(index: number) => any} props.row what stands in a row
 * @param {string} props.label
 * @param {boolean} props.follow whether it stays at its end as it grows
 * @param {(follow: boolean) => void} props.onFollow told when somebody scrolls away from the end, or to it
 * @param {number | null} props.chosen
 * @param {(index: number) => void} props.onChoose
 */
export function VirtualList({ count, row, label, follow, onFollow, chosen, onChoose }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [height, setHeight] = useState(400);
  // The first row that is seen, with its fraction.
  const [top, setTop] = useState(0);
  /** Where the scroll bar was last put by this list itself. */
  const put = useRef(-1);
  const rows = height / ROW_PX;
  const last = Math.max(0, count - rows);
  const tall = Math.max(height, Math.min(count * ROW_PX, TALLEST_PX));
  const scale = last > 0 ? (tall - height) / last : 1;

  const go = (/** @type {number} */ wanted, told = true) => {
    const next = Math.max(0, Math.min(wanted, last));
    setTop(next);
    if (box.current) {
      put.current = Math.round(next * scale);
      box.current.scrollTop = put.current;
    }
    if (told) onFollow(next >= last - 0.5);
  };
  useLayoutEffect(() => {
    const element = /** @type {HTMLDivElement} */ (box.current);
    const watch = new ResizeObserver(() => setHeight(element.clientHeight || 400));
    watch.observe(element);
    setHeight(element.clientHeight || 400);
    return () => watch.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (follow) go(last, false);
  }, [count, follow, height]);
  useEffect(() => {
    // On the smaller scale a turn of the wheel would leap over rows.
    const element = /** @type {HTMLDivElement} */ (box.current);
    const wheel = (/** @type {WheelEvent} */ event) => {
      if (event.ctrlKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
      const lines = event.deltaMode === 1 ? event.deltaY : event.deltaMode === 2 ? event.deltaY * rows : event.deltaY / ROW_PX;
      event.preventDefault();
      go(top + lines);
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  });
  const scrolled = () => {
    const at = /** @type {HTMLDivElement} */ (box.current).scrollTop;
    if (Math.abs(at - put.current) < 1) return;
    put.current = -1;
    const next = scale > 0 ? at / scale : 0;
    setTop(next);
    onFollow(next >= last - 0.5);
  };
  const press = (/** @type {KeyboardEvent} */ event) => {
    const from = chosen ?? Math.floor(top);
    const to = { ArrowDown: from + 1, ArrowUp: from - 1, PageDown: from + Math.floor(rows), PageUp: from - Math.floor(rows), Home: 0, End: count - 1 }[event.key];
    if (to === undefined || count === 0) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(to, count - 1));
    onChoose(index);
    if (index < top) go(index);
    else if (index > top + rows - 2) go(index - rows + 2);
  };
  const first = Math.max(0, Math.floor(top) - BEYOND);
  const end = Math.min(count, Math.ceil(top + rows) + BEYOND);
  const shown = [];
  for (let index = first; index < end; index += 1) {
    shown.push(html`<div key=${index} id="row-${index}" class="row ${index === chosen ? "chosen" : ""}" role="option" aria-selected=${index === chosen} aria-setsize=${count} aria-posinset=${index + 1} style=${{ transform: `translateY(${(index - top) * ROW_PX + Math.round(top * scale)}px)` }} onClick=${() => onChoose(index)}>${row(index)}</div>`);
  }
  return html`<div class="virtual" ref=${box} role="listbox" aria-label=${label} tabindex="0" aria-activedescendant=${chosen !== null && chosen >= first && chosen < end ? `row-${chosen}` : undefined} onScroll=${scrolled} onKeyDown=${press}>
    <div class="tall" role="presentation" style=${{ height: `${tall}px` }}>${shown}</div>
  </div>`;
}
