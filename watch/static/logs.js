// The logs: a live tail, filtered; one record in full; from an error to its moment on the curves. Owns #logs.

import { byId, h, mark, say, soon } from "./dom.js";
import { clock, count, level, moment, things } from "./format.js";
import { Grid } from "./grid.js";
import { fields, passes } from "./records.js";

const SLICE_MS = 6; // of filtering in one frame
const PUT_MS = 200; // between two drawings while older records are still looked at
const BESIDE = 3000; // records fetched without being asked for
const ERROR = 17;
const SIGNS = { DEBUG: "·", INFO: "", WARNING: "△", ERROR: "▲", CRITICAL: "▲" };

export class Logs {
  #store;
  #feed;
  #grid;
  #filter = { severity: 0, service: "", words: [] };
  #ids = []; // of the records that pass, the oldest first; only ever longer at its end, else another list
  #put = { ids: null, at: 0 };
  #next = 0; // the id to look at next
  #first = 0; // the id before which nothing was looked at
  #follow = true;
  #open = null;
  #epoch = -1;
  #toCurves;

  /** `toCurves(record)` shows a record's moment on the curves. */
  constructor(store, feed, toCurves) {
    this.#store = store;
    this.#feed = feed;
    this.#toCurves = toCurves;
    this.#grid = new Grid(byId("logs-table"), {
      label: "Log records", columns: COLUMNS.map((one) => ({ ...one, fill: (cell, id) => this.#cell(one, cell, id) })),
      row: (row, id) => this.#row(row, id), open: (id) => this.#show(store.records.at(id)), click: (_, id) => this.#show(store.records.at(id)),
      moved: (key) => this.#moved(key),
    });
    this.#grid.element.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#grid.element.addEventListener("wheel", (event) => event.deltaY < 0 && this.#setFollow(false), { passive: true });
    for (const id of ["logs-level", "logs-service", "logs-text"]) byId(id).addEventListener("input", () => this.#filtered());
    byId("logs-follow").addEventListener("click", () => this.#setFollow(!this.#follow));
    byId("logs-error-before").addEventListener("click", () => this.#toError(-1));
    byId("logs-error-after").addEventListener("click", () => this.#toError(1));
    store.on("logs", () => soon(this.draw));
  }

  /** Draw what is to be seen; call through `soon`. */
  draw = () => {
    if (!byId("logs-table").clientWidth) return;
    const { records } = this.#store;
    this.#services();
    const start = performance.now();
    this.#forgetDropped();
    let done = this.#look(start);
    if (done && this.#first > records.first) {
      this.#lookBefore();
      done = false;
    }
    this.#summary(done);
    if (done || this.#ids === this.#put.ids || start - this.#put.at > PUT_MS) this.#toGrid(start);
    if (!done) soon(this.draw);
    else this.#wantOlder();
  };

  /** Show a record: in the list, even where the filter hides it, and in full. */
  reveal(record) {
    if (!passes(record, this.#filter)) {
      [byId("logs-level").value, byId("logs-service").value, byId("logs-text").value] = ["0", "", ""];
      this.#filtered();
    }
    this.#setFollow(false);
    this.#pending = record.id;
    this.#show(record);
    soon(this.draw);
  }

  #pending = null; // id of the record to go to, once it is there

  #toGrid(now) {
    this.#grid.show(this.#ids, this.#ids === this.#put.ids);
    this.#put = { ids: this.#ids, at: now };
    if (this.#pending !== null) {
      const place = this.#ids.indexOf(this.#pending);
      if (place >= 0) {
        this.#grid.go(place, true);
        this.#grid.element.focus({ preventScroll: true });
        this.#pending = null;
      }
    } else if (this.#follow) this.#grid.toEnd();
  }

  // Filtering: a slice in each frame, so that 100,000 records keep no frame waiting ------------------------

  #filtered() {
    const text = byId("logs-text").value.trim().toLowerCase();
    this.#filter = {
      severity: Number(byId("logs-level").value), service: byId("logs-service").value,
      words: text.split(/\s+/).filter(Boolean),
    };
    this.#ids = [];
    this.#next = this.#first = this.#store.records.end; // newest first: those are in sight
    this.#grid.at = 0;
    if (!this.#pending) this.#follow = true;
    mark(byId("logs-follow"), "aria-pressed", this.#follow);
    soon(this.draw);
  }

  #forgetDropped() {
    const { records } = this.#store;
    if (this.#epoch !== records.epoch || this.#next > records.end) {
      this.#epoch = records.epoch;
      [this.#ids, this.#next, this.#first] = [[], records.end, records.end];
      this.#close(false);
    }
    const gone = this.#ids.findIndex((id) => id >= records.first);
    const dropped = gone < 0 ? this.#ids.length : gone;
    if (dropped > 0) {
      this.#ids = this.#ids.slice(dropped);
      if (!this.#follow) this.#grid.shift(-dropped);
    }
    this.#first = Math.max(this.#first, records.first);
    this.#next = Math.max(this.#next, this.#first);
  }

  /** Look at new records; returns whether all were looked at before the frame's time was up. */
  #look(start) {
    const { records } = this.#store;
    while (this.#next < records.end) {
      const found = records.at(this.#next);
      if (passes(found, this.#filter)) this.#ids.push(found.id);
      this.#next += 1;
      if (this.#next % 256 === 0 && performance.now() - start > SLICE_MS) return false;
    }
    return true;
  }

  /** Look at a slice of the records before those that were looked at. */
  #lookBefore() {
    const { records } = this.#store;
    const start = performance.now();
    const found = [];
    while (this.#first > records.first) {
      const one = records.at(this.#first - 1);
      if (passes(one, this.#filter)) found.push(one.id);
      this.#first -= 1;
      if (this.#first % 256 === 0 && performance.now() - start > SLICE_MS) break;
    }
    if (!found.length) return;
    this.#ids = found.reverse().concat(this.#ids);
    if (!this.#follow) this.#grid.items = this.#ids;
    if (!this.#follow) this.#grid.shift(found.length);
  }

  /** Fetch older records: a few in any case, all of them once one looks back or a filter leaves few. */
  #wantOlder() {
    const { records } = this.#store;
    const sought = this.#pending !== null && this.#pending < records.first;
    const few = this.#isFiltered && this.#ids.length < 5000;
    if (!records.list.length || !this.#feed.hasOlder) this.#pending = null;
    else if (sought || !this.#follow || few || records.list.length < BESIDE) this.#feed.older();
  }

  get #isFiltered() {
    return this.#filter.severity > 0 || this.#filter.service !== "" || this.#filter.words.length > 0;
  }

  #scrolled() {
    if (this.#follow && !this.#grid.atEnd && this.#grid.element.matches(":active")) this.#setFollow(false);
    soon(this.draw);
  }

  #moved(key) {
    this.#setFollow(key === "End");
    if (this.#open !== null) this.#show(this.#store.records.at(this.#ids[this.#grid.at]));
  }

  #setFollow(follow) {
    if (follow === this.#follow) return;
    this.#follow = follow;
    mark(byId("logs-follow"), "aria-pressed", follow);
    soon(this.draw);
  }

  #toError(step) {
    const { records } = this.#store;
    const here = this.#ids[this.#grid.at];
    const from = this.#follow ? this.#ids.length : this.#ids.indexOf(here);
    for (let place = from + step; place >= 0 && place < this.#ids.length; place += step) {
      if (records.at(this.#ids[place])?.severity >= ERROR) {
        this.reveal(records.at(this.#ids[place]));
        return;
      }
    }
    say(byId("logs-summary"), step < 0 ? "There is no error before this one." : "There is no error after this one.");
  }

  // Drawing -------------------------------------------------------------------------------------------

  #cell({ key, text }, cell, id) {
    const found = this.#store.records.at(id);
    if (!found) return;
    if (key !== "event") say(cell, text(found));
    else if (cell.dataset.record !== found.key) {
      cell.dataset.record = found.key;
      cell.replaceChildren(h("b", {}, found.event), ` ${fields(found)}`);
    }
  }

  #row(row, id) {
    const found = this.#store.records.at(id);
    mark(row, "data-level", found ? level(found.severity) : null);
    mark(row, "data-open", id === this.#open ? "yes" : null);
  }

  #services() {
    const select = byId("logs-service");
    const names = [...this.#store.records.services.keys()].sort();
    if (this.#filter.service && !names.includes(this.#filter.service)) names.push(this.#filter.service);
    if (select.dataset.names === names.join()) return;
    select.dataset.names = names.join();
    select.replaceChildren(h("option", { value: "" }, "all"), ...names.map((name) => h("option", { value: name }, name)));
    select.value = this.#filter.service;
  }

  #summary(done) {
    const { records } = this.#store;
    const held = things(records.list.length, "record");
    const shown = this.#isFiltered ? `${count(this.#ids.length)} of ${held} shown` : `${held} held`;
    const more = !done || this.#pending !== null ? ", looking" : this.#feed.hasOlder ? ", older ones come once you stop following" : "";
    say(byId("logs-summary"), records.list.length ? `${shown}${more}, ${things(records.errors, "error")}. Times are UTC.`
      : "No log record yet. The log collector writes them to DIR/logs.");
  }

  #show(found) {
    const box = byId("record");
    box.hidden = !found;
    if (!found) return;
    this.#open = found.id;
    const { "exception.stacktrace": trace, ...attributes } = found.attributes;
    const facts = [["time", moment(found.time)], ["level", level(found.severity)], ["service", found.service],
      ["host", found.host], ["session", found.instance], ["logger", found.logger], ...Object.entries(attributes)];
    box.replaceChildren(
      h("header", {}, h("h3", {}, `${SIGNS[level(found.severity)]} ${found.event}`), h("div", { class: "tools" },
        h("button", { type: "button", onclick: () => this.#toCurves(found) }, "Show on the curves"),
        h("button", { type: "button", class: "quiet", onclick: () => this.#close() }, "Close"))),
      h("dl", { class: "facts" }, ...facts.filter(([, value]) => value !== "").flatMap(([name, value]) =>
        [h("dt", {}, name), h("dd", {}, typeof value === "number" ? String(value) : `${value}`)])),
      trace ? h("pre", { tabindex: "0", "aria-label": "Stack trace" }, trace) : "");
    this.#grid.again();
  }

  #close(focus = true) {
    this.#open = null;
    byId("record").hidden = true;
    this.#grid.again();
    if (focus) this.#grid.element.focus();
  }
}

const COLUMNS = [
  { key: "time", title: "Time", class: "time", text: (found) => clock(found.time) },
  { key: "level", title: "Level", class: "level", text: (found) => `${SIGNS[level(found.severity)]} ${level(found.severity)}` },
  { key: "service", title: "Service", class: "service", text: (found) => found.service },
  { key: "event", title: "Event", class: "event" },
];
