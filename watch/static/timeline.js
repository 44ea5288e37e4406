// What each process did when, on a canvas: a row for each service and a lane for each span that overlaps others.
// Owns the section #timeline. Only the rows in sight are drawn.

import { byId, colour, h, keyed, mark, say, soon } from "./dom.js";
import { clock, count, percent, span as lasted } from "./format.js";
import { firstAfter } from "./spans.js";
import { zoomKey } from "./zoom.js";

const NAMES = ["lease", "read", "engine", "batch", "encode", "send", "store", "train", "validate", "checkpoint", "publish"];
const COLOURS = 11;
const LANE = 14;
const GAP = 4;
const TOP = 22; // the axis
const KEPT_S = 600;
const SHARES_MS = 2000;
const TEXT_LEAST = 34; // pixels that a span needs to have its name on it
const collator = new Intl.Collator("en-GB", { numeric: true });

export class Timeline {
  #store;
  #canvas = byId("timeline-canvas");
  #box = byId("timeline-box");
  #follow = true;
  #end = 0; // right edge, milliseconds since 1970, while not following
  #width = 60000; // milliseconds in sight
  #rows = [];
  #names = []; // of all services, in order
  #hits = [];
  #label = 110;
  #drag = null;
  #stamp = "";
  #shared = 0;

  constructor(store) {
    this.#store = store;
    store.on("spans", () => soon(this.draw));
    store.on("status", () => this.#follow && soon(this.draw));
    byId("timeline-window").addEventListener("change", (event) => this.#setWidth(Number(event.target.value) * 1000));
    byId("timeline-filter").addEventListener("input", () => soon(this.draw));
    byId("timeline-follow").addEventListener("click", () => this.#setFollow(!this.#follow));
    this.#box.addEventListener("scroll", () => soon(this.draw), { passive: true });
    this.#box.addEventListener("keydown", (event) => zoomKey(this.#zoom, event));
    this.#canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.#canvas.addEventListener("pointerdown", (event) => this.#press(event));
    this.#canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) this.#canvas.addEventListener(end, () => { this.#drag = null; });
    document.addEventListener("theme", () => soon(this.draw));
    new ResizeObserver(() => soon(this.draw)).observe(this.#box);
  }

  /** Draw what is to be seen; call through `soon`. */
  draw = () => {
    if (!this.#box.clientWidth) return;
    if (this.#store.directory) say(byId("timeline-trace"), `rookery trace ${this.#store.directory}`);
    this.#arrange();
    this.#paint();
    this.#shares();
  };

  get #edge() {
    return this.#follow ? this.#store.now : this.#end;
  }

  #zoom = {
    pan: (share) => this.#show(this.#edge + share * this.#width, this.#width),
    scale: (factor, centre = null) => {
      const about = centre ?? this.#edge - this.#width / 2;
      const width = Math.min(Math.max(this.#width * factor, 20), KEPT_S * 1000);
      this.#show(about + (this.#edge - about) * (width / this.#width), width);
    },
    reset: () => {
      this.#width = Number(byId("timeline-window").value) * 1000;
      this.#setFollow(true);
    },
  };

  #show(end, width) {
    this.#width = width;
    const now = this.#store.now;
    this.#end = Math.min(end, now);
    if (this.#follow && end < now - 500) this.#setFollow(false, this.#end);
    soon(this.draw);
  }

  #setWidth(width) {
    this.#width = width;
    soon(this.draw);
  }

  #setFollow(follow, end = this.#store.now) {
    if (!follow) this.#end = end;
    this.#follow = follow;
    mark(byId("timeline-follow"), "aria-pressed", follow);
    soon(this.draw);
  }

  // Rows: a service each, its spans in as many lanes as overlap --------------------------------------------

  #arrange() {
    const filter = byId("timeline-filter").value.trim().toLowerCase();
    const begin = this.#edge - this.#width;
    const all = this.#store.spans.services;
    if (this.#names.length !== all.size) this.#names = [...all.keys()].sort(collator.compare);
    const names = this.#names.filter((name) => name.toLowerCase().includes(filter) && all.has(name));
    let y = TOP;
    this.#rows = names.map((name) => {
      const row = { name, y, lanes: all.get(name).filter((lane) => lane.at(-1).end >= begin && lane[0].begin <= this.#edge) };
      if (row.lanes.length) y += row.lanes.length * LANE + GAP;
      return row;
    }).filter((row) => row.lanes.length);
    const height = `${Math.max(y + 4, 120)}px`;
    if (byId("timeline-fill").style.height === height) return;
    byId("timeline-fill").style.height = height;
    this.#box.style.setProperty("--content", `calc(${height} + 4px)`);
  }

  #paint() {
    const [width, height] = [this.#box.clientWidth, this.#box.clientHeight];
    const ratio = devicePixelRatio;
    this.#label = width < 600 ? 78 : 120;
    if (this.#canvas.width !== Math.round(width * ratio) || this.#canvas.height !== Math.round(height * ratio)) {
      [this.#canvas.width, this.#canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
      [this.#canvas.style.width, this.#canvas.style.height] = [`${width}px`, `${height}px`];
    }
    const context = this.#canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    const ink = { text: colour("--text"), muted: colour("--muted"), line: colour("--line"), surface: colour("--surface"), on: colour("--on-span"),
      spans: Array.from({ length: COLOURS }, (_, index) => colour(`--span-${index}`)) };
    this.#hits = [];
    const top = this.#box.scrollTop;
    this.#grid(context, width, height, ink);
    for (const row of this.#rows) {
      const y = row.y - top;
      if (y > height || y + row.lanes.length * LANE < TOP) continue;
      this.#row(context, row, y, width, ink);
    }
    context.fillStyle = ink.surface;
    context.fillRect(0, 0, width, TOP - 2);
    this.#axis(context, width, ink);
    if (!this.#rows.length) {
      context.fillStyle = ink.muted;
      context.fillText("No span in this window. They come while a run is at work and the setting trace is true.", 12, 60, width - 24);
    }
  }

  #x(time, width) {
    return this.#label + ((time - (this.#edge - this.#width)) / this.#width) * (width - this.#label);
  }

  #row(context, row, y, width, ink) {
    const [begin, scale] = [this.#edge - this.#width, (width - this.#label) / this.#width];
    context.save();
    context.beginPath();
    context.rect(this.#label, TOP - 2, width - this.#label, 1e5);
    context.clip();
    row.lanes.forEach((lane, index) => {
      const up = y + index * LANE;
      let drawn = -1; // right edge in pixels of what was drawn: thousands of spans narrower than a pixel are one
      for (let next = firstAfter(lane, begin); next < lane.length; next += 1) {
        const span = lane[next];
        if (span.begin > this.#edge) break;
        const x = this.#label + (span.begin - begin) * scale;
        const right = Math.max(x + 1, this.#label + (span.end - begin) * scale);
        if (right <= drawn + 0.5) continue;
        drawn = right;
        context.fillStyle = ink.spans[place(span.name)];
        context.fillRect(x, up, right - x, LANE - 2);
        if (right - x > 3) this.#hits.push([x, up, right, span]);
        if (right - x > TEXT_LEAST) {
          const from = Math.max(x, this.#label) + 4;
          context.fillStyle = ink.on;
          if (right - from > TEXT_LEAST - 6) context.fillText(span.name, from, up + LANE / 2 - 1, right - from - 2);
        }
      }
    });
    context.restore();
    context.fillStyle = ink.text;
    context.fillText(row.name, 6, y + LANE / 2, this.#label - 10);
    context.fillStyle = ink.line;
    context.fillRect(0, y + row.lanes.length * LANE + GAP / 2 - 1, width, 1);
  }

  #ticks(width) {
    const wanted = Math.max(2, Math.floor((width - this.#label) / 110));
    const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5];
    const step = steps.find((one) => this.#width / one <= wanted) ?? 6e5;
    const found = [];
    for (let time = Math.ceil((this.#edge - this.#width) / step) * step; time <= this.#edge; time += step) found.push(time);
    return [found, step];
  }

  #grid(context, width, height, ink) {
    context.fillStyle = ink.line;
    for (const time of this.#ticks(width)[0]) context.fillRect(Math.round(this.#x(time, width)), TOP, 1, height);
  }

  #axis(context, width, ink) {
    const [ticks, step] = this.#ticks(width);
    context.fillStyle = ink.muted;
    context.textAlign = "center";
    for (const time of ticks) {
      const x = this.#x(time, width);
      if (x > this.#label + 20 && x < width - 28) context.fillText(clock(time, step < 1000 ? 3 : 0), x, 10);
    }
    context.textAlign = "start";
    context.fillText("UTC", 6, 10);
  }

  // Pointer -------------------------------------------------------------------------------------------

  #wheel(event) {
    if (!event.ctrlKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return; // the list scrolls
    event.preventDefault();
    const per = this.#width / (this.#box.clientWidth - this.#label);
    if (event.ctrlKey) this.#zoom.scale(Math.exp(event.deltaY * 0.002), this.#edge - this.#width + (event.offsetX - this.#label) * per);
    else this.#show(this.#edge + event.deltaX * per, this.#width);
  }

  #press(event) {
    this.#drag = [event.clientX, this.#edge];
    this.#canvas.setPointerCapture(event.pointerId);
    this.#box.focus({ preventScroll: true });
  }

  #move(event) {
    if (this.#drag) {
      const per = this.#width / (this.#box.clientWidth - this.#label);
      if (Math.abs(event.clientX - this.#drag[0]) > 3) this.#show(this.#drag[1] - (event.clientX - this.#drag[0]) * per, this.#width);
    }
    const hit = this.#hits.find(([x, y, right]) => event.offsetX >= x && event.offsetX <= right && event.offsetY >= y && event.offsetY < y + LANE);
    if (hit) say(byId("timeline-point"), told(hit[3]));
  }

  // Legend and shares ----------------------------------------------------------------------------------

  /** Time in each kind of span by service, of the window: now and then. */
  #shares() {
    const now = performance.now();
    const stamp = `${this.#follow} ${this.#end} ${this.#width} ${byId("timeline-filter").value}`;
    if (now - this.#shared < SHARES_MS && (stamp === this.#stamp || this.#drag)) return;
    [this.#shared, this.#stamp] = [now, stamp];
    const times = new Map(this.#rows.map((row) => [row.name, this.#timesOf(row)]));
    const seen = new Set([...times.values()].flatMap((found) => [...found.keys()]));
    const all = [...NAMES.filter((name) => seen.has(name)), ...[...seen].filter((name) => !NAMES.includes(name)).sort()];
    keyed(byId("timeline-legend"), all, (name) => name, (name) => h("li", {}, h("i", { class: `span-${place(name)}` }), name), () => {});
    this.#table(all, times);
  }

  #timesOf(row) {
    const [begin, end] = [this.#edge - this.#width, this.#edge];
    const times = new Map();
    for (const lane of row.lanes) {
      for (let next = firstAfter(lane, begin); next < lane.length && lane[next].begin <= end; next += 1) {
        const span = lane[next];
        const time = Math.min(span.end, end) - Math.max(span.begin, begin);
        times.set(span.name, (times.get(span.name) ?? 0) + time);
      }
    }
    return times;
  }

  #table(names, times) {
    const box = byId("timeline-shares");
    if (box.dataset.names !== names.join()) {
      box.dataset.names = names.join();
      box.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "service"),
        ...names.map((name) => h("th", { scope: "col", class: "number" }, name)))), h("tbody")));
    }
    keyed(box.querySelector("tbody"), [...times], ([name]) => name,
      ([name]) => h("tr", {}, h("th", { scope: "row" }, name), ...names.map(() => h("td", { class: "number" }))),
      (row, [, found]) => names.forEach((name, index) => {
        say(row.children[index + 1], found.has(name) ? percent(found.get(name) / this.#width, 1) : "");
      }));
  }
}

/** The colour of a span's name. */
function place(name) {
  const known = NAMES.indexOf(name);
  return known >= 0 ? known : COLOURS - 1;
}

function told(span) {
  const { name, service, host, begin, seconds } = span;
  const own = Object.entries(span).filter(([key]) => !["name", "service", "host", "begin", "end", "seconds", "begin_ns"].includes(key));
  const more = own.map(([key, value]) => `${key} ${typeof value === "number" ? count(value) : value}`).join(", ");
  return `${service}${host ? ` on ${host}` : ""}: ${name}, ${lasted(seconds)} from ${clock(begin)} UTC${more ? `, ${more}` : ""}`;
}
