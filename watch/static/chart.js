// One learning curve: uPlot with shared zoom, cursor and marks. Knows nothing of the store.

import uPlot from "/static/uplot/uPlot.esm.js";
import { colour, h, say } from "./dom.js";
import { zoomKey } from "./zoom.js";

export const AGENT_COLOURS = 6;
const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3], [4, 2], [12, 4]];
const HEIGHT = 190;
const WHEEL = 0.0015; // zoom for each pixel of the wheel
const FINGERS = new Set(["touch", "pen"]);

/** How the agent with this index is drawn. */
export const dash = (index) => DASHES[index % DASHES.length];
export const stroke = (index) => colour(`--agent-${index % AGENT_COLOURS}`);

/** A chart in a focusable box. `spec`: title, format of values. `marks()` returns [{x, bad, chosen, open}]. */
export class Chart {
  #spec;
  #zoom;
  #plot = null;
  #names = [];
  #marks;
  #fingers = new Map();
  #axis = null;
  #ink = {};
  #late = null; // what is to be drawn once the chart is in sight
  seen = false;

  constructor(spec, zoom, marks) {
    this.#spec = spec;
    this.#zoom = zoom;
    this.#marks = marks;
    this.values = h("span", { class: "chart-values" });
    this.body = h("div", { class: "chart-body" });
    this.element = h("figure", { class: "chart", tabindex: "0", role: "group", "data-chart": spec.field },
      h("figcaption", {}, h("span", { class: "chart-title" }, spec.title), this.values), this.body);
    this.element.addEventListener("keydown", (event) => zoomKey(this.#zoom, event));
    new IntersectionObserver(([entry]) => this.#sighted(entry.isIntersecting), { rootMargin: "100px" }).observe(this.element);
  }

  /** Draw anew with other agents, axis or colours; `axis`: {label, time, format}. */
  rebuild(names, axis, smoothed) {
    const width = this.body.clientWidth;
    this.#plot?.destroy();
    this.#plot = null;
    this.#names = names;
    this.#axis = axis;
    this.#ink = { bad: colour("--bad"), warn: colour("--warn") };
    if (!width) return;
    const series = names.map((name, index) => ({
      label: name, stroke: stroke(index), width: 1.5, dash: dash(index), spanGaps: true, points: { size: 5, show: (plot, index) => few(plot.data[index]) },
      alpha: 1, value: (_, value) => (value === null ? "" : this.#spec.format(value)),
    }));
    const raw = smoothed ? series.map((one) => ({ ...one, width: 1, dash: [], alpha: 0.3 })) : [];
    const data = [[], ...series.map(() => []), ...raw.map(() => [])];
    this.#plot = new uPlot(this.#options(width, [{}, ...series, ...raw]), data, this.body);
    this.#listen(this.#plot.over);
  }

  /** Whether the chart has been built and fits its box. */
  get fits() {
    return this.#plot !== null && Math.abs(this.#plot.width - this.body.clientWidth) < 2;
  }

  /** Show `data`: uPlot's columns, of which the first agents.length are the lines. */
  show(data) {
    if (!this.#plot) return;
    if (!this.seen) {
      this.#late = data;
      return;
    }
    this.#late = null;
    const [min, max] = this.#zoom.range;
    this.#plot.batch(() => {
      this.#plot.setData(data, false);
      this.#plot.setScale("x", { min, max });
    });
    this.#say(null);
  }

  /** Follow the zoom. */
  follow() {
    if (!this.seen) {
      this.#late ??= this.#plot?.data;
      return;
    }
    const [min, max] = this.#zoom.range;
    this.#plot?.setScale("x", { min, max });
  }

  #sighted(seen) {
    this.seen = seen;
    if (seen && this.#late) this.show(this.#late);
  }

  #options(width, series) {
    const grid = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: colour("--muted"), grid, ticks: { ...grid, size: 4 }, font: "11px system-ui, sans-serif" };
    return {
      width, height: HEIGHT, series, legend: { show: false }, padding: [8, 10, 0, 0],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "Etc/UTC"),
      scales: { x: { time: this.#axis.time, auto: false }, y: { range: (_, least, most) => room(least, most) } },
      axes: [
        { ...axis, size: 26, gap: 3, space: 70, ...(this.#axis.time ? {} : { values: (_, ticks) => ticks.map(this.#axis.format) }) },
        { ...axis, size: 52, gap: 3, space: 30, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : this.#spec.tick(tick))) },
      ],
      cursor: {
        sync: { key: "curves", scales: ["x", null] }, focus: { prox: 24 }, points: { size: 6 }, y: false,
        drag: { x: true, y: false, setScale: false, dist: 6 },
        bind: { mousedown: (_, __, handler) => (event) => (event.shiftKey || event.button !== 0 ? null : handler(event)), dblclick: () => () => null },
      },
      hooks: {
        setSelect: [(plot) => this.#selected(plot)],
        setCursor: [(plot) => this.#say(plot.cursor.idx)],
        draw: [(plot) => this.#drawMarks(plot)],
      },
    };
  }

  #selected(plot) {
    const { left, width } = plot.select;
    if (width < 6) return;
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.#zoom.show(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
  }

  #listen(over) {
    over.addEventListener("dblclick", () => this.#zoom.reset());
    over.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    over.addEventListener("pointerdown", (event) => this.#press(event, over));
    over.addEventListener("pointermove", (event) => this.#drag(event));
    for (const end of ["pointerup", "pointercancel"]) over.addEventListener(end, (event) => this.#fingers.delete(event.pointerId));
    over.addEventListener("click", (event) => this.#openMark(event));
  }

  #wheel(event) {
    if (!event.ctrlKey && !this.element.contains(document.activeElement)) return; // else the page scrolls
    event.preventDefault();
    const across = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
    if (Math.abs(across) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
      this.#zoom.pan(across / this.#plot.over.clientWidth);
      return;
    }
    this.#zoom.scale(Math.exp(event.deltaY * WHEEL), this.#plot.posToVal(event.offsetX, "x"));
  }

  #press(event, over) {
    this.element.focus({ preventScroll: true });
    if (!FINGERS.has(event.pointerType) && !event.shiftKey) return;
    over.setPointerCapture(event.pointerId);
    this.#fingers.set(event.pointerId, event.clientX);
  }

  #drag(event) {
    if (!this.#fingers.has(event.pointerId)) return;
    const before = [...this.#fingers.values()];
    this.#fingers.set(event.pointerId, event.clientX);
    const after = [...this.#fingers.values()];
    const width = this.#plot.over.clientWidth;
    if (after.length === 1) this.#zoom.pan((before[0] - after[0]) / width);
    else if (Math.abs(after[0] - after[1]) > 8) {
      const left = this.#plot.over.getBoundingClientRect().left;
      const middle = this.#plot.posToVal((after[0] + after[1]) / 2 - left, "x");
      this.#zoom.scale(Math.abs(before[0] - before[1]) / Math.abs(after[0] - after[1]), middle);
    }
  }

  #say(index) {
    const data = this.#plot?.data;
    if (!data?.[0]?.length) return;
    const at = index ?? data[0].length - 1;
    const parts = this.#names.map((name, series) => {
      const value = nearest(data[series + 1], at);
      return value === null ? null : `${name} ${this.#spec.format(value)}`;
    });
    const where = index === null || index === undefined ? "latest" : this.#axis.told(data[0][at]);
    say(this.values, `${parts.filter(Boolean).join(" · ")} (${where})`);
    if (index === null) this.element.setAttribute("aria-label", `${this.#spec.title}, ${this.#axis.label}: ${this.values.textContent}`);
  }

  #drawMarks(plot) {
    const { ctx, bbox } = plot;
    const ratio = devicePixelRatio;
    ctx.save();
    for (const mark of this.#marks()) {
      const x = plot.valToPos(mark.x, "x", true);
      if (x < bbox.left - 1 || x > bbox.left + bbox.width + 1) continue;
      ctx.strokeStyle = ctx.fillStyle = mark.bad ? this.#ink.bad : this.#ink.warn;
      const size = (mark.chosen ? 6 : 4) * ratio;
      ctx.beginPath();
      ctx.moveTo(x - size, bbox.top);
      ctx.lineTo(x + size, bbox.top);
      ctx.lineTo(x, bbox.top + size * 1.6);
      ctx.fill();
      if (!mark.chosen) continue;
      ctx.lineWidth = 1.5 * ratio;
      ctx.setLineDash([4 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.setLineDash([]);
    }
    ctx.restore();
  }

  #openMark(event) {
    if (event.offsetY > 18) return;
    const near = this.#marks().map((mark) => [Math.abs(this.#plot.valToPos(mark.x, "x") - event.offsetX), mark]);
    const [found] = near.filter(([distance]) => distance < 8).sort((one, other) => one[0] - other[0]);
    found?.[1].open();
  }
}

function nearest(values, at) {
  for (let index = at; index >= 0; index -= 1) if (values[index] !== null && values[index] !== undefined) return values[index];
  return null;
}

/** So few that a line alone would not show them. */
const few = (values) => values.length < 400 && values.filter((value) => value !== null && value !== undefined).length <= 12;

function room(least, most) {
  if (least === null || most === null) return [0, 1];
  const pad = (most - least || Math.abs(most) || 1) * 0.06;
  return [least - (least >= 0 ? Math.min(pad, least) : pad), most + pad];
}
