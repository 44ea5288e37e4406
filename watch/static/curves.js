// The learning curves: one chart for each figure, an agent a line, with the errors' moments marked on them.
// Owns the section #curves.

import { byId, h, keyed, mark, soon } from "./dom.js";
import { AGENT_COLOURS, Chart, dash } from "./chart.js";
import { clock, count, decimal, moment, percent } from "./format.js";
import uPlot from "/static/uplot/uPlot.esm.js";
import { Zoom } from "./zoom.js";

const small = (value) => decimal(value, Math.abs(value) < 0.1 ? 4 : 3);
const short = (value) => String(Number(value.toPrecision(4)));
const share = (value) => percent(value, 1);
const parts = (value) => `${short(value * 100)} %`;

const CHARTS = [
  { field: "td_error", title: "TD error, expected score", format: small, tick: short },
  { field: "match_top1", title: "Move match, first choice", format: share, tick: parts },
  { field: "match_top3", title: "Move match, first three", format: share, tick: parts },
  { field: "validation_loss", title: "Held-out loss", format: small, tick: short },
  { field: "validation_match_top1", title: "Held-out move match", format: share, tick: parts },
  { field: "q_loss", title: "Q loss", format: small, tick: short },
  { field: "prior_loss", title: "Prior loss", format: small, tick: short },
  { field: "value_loss", title: "Value loss", format: small, tick: short },
  { field: "rank_correlation", title: "Rank correlation with the result", format: small, tick: short },
  { field: "gradient_norm", title: "Gradient norm", format: small, tick: short },
  { field: "probe_lag_mean", title: "Probes' lag, versions", format: small, tick: short },
];

const AXES = {
  unit: { label: "by units trained", of: (interval) => interval.last_unit + 1, format: count, told: (value) => `unit ${count(value)}` },
  step: { label: "by gradient steps", of: (interval) => interval.step, format: count, told: (value) => `step ${count(value)}` },
  time: { label: "by time", time: true, of: (interval) => interval.at / 1000, format: null, told: (value) => clock(value * 1000, 0) },
};
const MOST_MARKS = 200;
const MOST_EVENTS = 12;

export class Curves {
  #store;
  #zoom = new Zoom();
  #charts = [];
  #built = "";
  #openLog;
  #chosen = null;

  /** `openLog(record)` shows a record among the logs. */
  constructor(store, openLog) {
    this.#store = store;
    this.#openLog = openLog;
    this.#charts = CHARTS.map((spec) => [spec, new Chart(spec, this.#zoom, () => this.#marks())]);
    byId("charts").append(...this.#charts.map(([, chart]) => chart.element));
    this.#zoom.listen(() => soon(this.#follow));
    byId("curves-x").addEventListener("change", () => this.#otherAxis());
    byId("curves-smooth").addEventListener("change", () => soon(this.draw));
    byId("curves-reset").addEventListener("click", () => this.#zoom.reset());
    byId("charts").addEventListener("dblclick", () => this.#zoom.reset());
    document.addEventListener("theme", () => this.#forget());
    new ResizeObserver(() => soon(this.draw)).observe(byId("charts"));
  }

  /** Mark a record's moment on the curves, and show it. */
  choose(record) {
    this.#chosen = record;
    soon(() => {
      this.draw();
      const x = this.#placeOf(record);
      if (x !== null) this.#zoom.reveal(x);
      const charts = this.#charts.filter(([, chart]) => !chart.element.hidden);
      charts[0]?.[1].element.scrollIntoView({ block: "nearest" });
    });
  }

  /** What part of the x axis is shown: least and most. */
  get range() {
    return this.#zoom.range;
  }

  get #axis() {
    return AXES[byId("curves-x").value];
  }

  #forget() {
    this.#built = "";
    soon(this.draw);
  }

  #otherAxis() {
    this.#zoom.reset();
    this.#forget();
  }

  #follow = () => {
    for (const [, chart] of this.#charts) chart.follow();
  };

  /** Draw everything that is to be seen; call through `soon`. */
  draw = () => {
    const box = byId("charts");
    if (!box.clientWidth) return;
    const names = this.#store.agents.filter((name) => this.#store.series.has(name));
    const smooth = Number(byId("curves-smooth").value);
    this.#legend(names);
    this.#extend();
    byId("curves-empty").hidden = names.length > 0;
    const built = `${names.join("\n")} ${byId("curves-x").value} ${smooth > 0}`;
    for (const [spec, chart] of this.#charts) {
      const columns = names.map((name) => this.#column(name, spec.field));
      chart.element.hidden = !columns.some(([x]) => x.length);
      if (chart.element.hidden) continue;
      if (built !== this.#built || !chart.fits) chart.rebuild(names, this.#axis, smooth > 0);
      chart.show(joined(columns, smooth));
    }
    this.#built = built;
    this.#markBar();
    this.#events();
  };

  #extend() {
    let [least, most] = [Infinity, -Infinity];
    for (const series of this.#store.series.values()) {
      for (const interval of series) {
        const x = this.#axis.of(interval);
        if (x < least) least = x;
        if (x > most) most = x;
      }
    }
    if (most >= least) this.#zoom.extend(least, most);
  }

  #column(name, field) {
    const x = [];
    const y = [];
    for (const interval of this.#store.series.get(name)) {
      const value = interval[field];
      const place = this.#axis.of(interval);
      if (typeof value !== "number" || !Number.isFinite(place)) continue;
      if (place === x.at(-1)) y[y.length - 1] = value;
      else if (!x.length || place > x.at(-1)) {
        x.push(place);
        y.push(value);
      }
    }
    return [x, y];
  }

  #legend(names) {
    keyed(byId("curves-legend"), names.map((name, index) => ({ name, index })), ({ name }) => name,
      ({ name }) => h("li", {}, h("canvas", { width: 56, height: 12, "aria-hidden": "true" }), name),
      (item, { index }) => sample(item.querySelector("canvas"), index));
  }

  // Marks ---------------------------------------------------------------------------------------------

  #marks() {
    const found = this.#store.troubles.slice(-MOST_MARKS).map((record) => ({
      x: this.#placeOf(record), bad: record.severity >= 17, chosen: false, open: () => this.#openLog(record),
    }));
    if (this.#chosen) {
      const bad = this.#chosen.severity >= 17;
      found.push({ x: this.#placeOf(this.#chosen), bad, chosen: true, open: () => this.#openLog(this.#chosen) });
    }
    return found.filter(({ x }) => x !== null);
  }

  /** Where on the x axis a record's moment is: that of the last interval before it, or between two of them. */
  #placeOf(record) {
    if (this.#axis.time) return record.time / 1000;
    const own = this.#store.series.get(record.attributes.agent);
    const series = own ?? [...this.#store.series.values()][0];
    if (!series?.length) return null;
    const after = series.findIndex((interval) => interval.at >= record.time);
    if (after === 0) return this.#axis.of(series[0]);
    if (after < 0) return this.#axis.of(series.at(-1));
    const [one, two] = [series[after - 1], series[after]];
    const part = (record.time - one.at) / (two.at - one.at || 1);
    return this.#axis.of(one) + part * (this.#axis.of(two) - this.#axis.of(one));
  }

  #markBar() {
    const bar = byId("mark-bar");
    bar.hidden = !this.#chosen;
    if (!this.#chosen || bar.dataset.key === this.#chosen.key) return;
    bar.dataset.key = this.#chosen.key;
    bar.replaceChildren(
      h("span", {}, `▼ ${moment(this.#chosen.time)} · ${this.#chosen.service} · ${this.#chosen.event}`),
      h("button", { type: "button", onclick: () => this.#openLog(this.#chosen) }, "Back to the log"),
      h("button", { type: "button", class: "quiet", onclick: () => this.#unmark() }, "Remove the mark"));
  }

  #unmark() {
    this.#chosen = null;
    delete byId("mark-bar").dataset.key;
    soon(this.draw);
  }

  #events() {
    const newest = this.#store.troubles.slice(-MOST_EVENTS).reverse();
    keyed(byId("curve-events"), newest, (record) => record.key, (record) => this.#event(record), () => {});
    mark(byId("curve-events"), "data-empty", newest.length ? null : "None so far.");
  }

  #event(record) {
    const bad = record.severity >= 17;
    return h("li", { "data-bad": bad ? "yes" : null },
      h("span", {}, `${bad ? "▲ error" : "△ warning"} ${clock(record.time, 0)} ${record.service}: ${record.event}`),
      h("button", { type: "button", onclick: () => this.choose(record) }, "On the curves"),
      h("button", { type: "button", onclick: () => this.#openLog(record) }, "In the logs"));
  }
}

function joined(columns, smooth) {
  const raw = columns.map(([x, y]) => [x, y]);
  if (!smooth) return uPlot.join(raw);
  return uPlot.join([...raw.map(([x, y]) => [x, smoothed(y, smooth)]), ...raw]);
}

/** An exponential mean over the points before each, without the pull towards its start. */
function smoothed(values, weight) {
  let sum = 0;
  let total = 0;
  return values.map((value) => {
    sum = sum * weight + value;
    total = total * weight + 1;
    return sum / total;
  });
}

function sample(canvas, index) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue(`--agent-${index % AGENT_COLOURS}`);
  context.lineWidth = 3;
  context.setLineDash(dash(index).map((length) => length * 1.5));
  context.beginPath();
  context.moveTo(0, 6);
  context.lineTo(56, 6);
  context.stroke();
}
