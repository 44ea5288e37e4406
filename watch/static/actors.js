// Every actor in a table: sorted, filtered, selected, given orders. Owns the section #actors and the dialog #one-actor.

import { byId, h, mark, say, soon } from "./dom.js";
import { bytes, count, duration, percent, rate, things } from "./format.js";
import { Grid } from "./grid.js";
import { order } from "./orders.js";

export const STUCK_S = 30;
const ORDERS = ["pause", "resume", "drain", "reset"];
const collator = new Intl.Collator("en-GB", { numeric: true });

/** Whether an actor has units in hand and made no progress for long. */
export const stuck = (actor) => actor.service.units.length > 0 && actor.service.progress_s > STUCK_S;

const state = (actor) => (stuck(actor) ? "stuck" : actor.service.state);
const SIGNS = { away: "▲", stuck: "▲", paused: "⏸", draining: "▽", working: "●", waiting: "○", finished: "✓" };

const VALUES = {
  name: (actor) => actor.service.name,
  host: (actor) => actor.service.host,
  state,
  positions: (actor) => actor.rates.positions_per_s ?? 0,
  engine: (actor) => actor.nodes ?? 0,
  busy: (actor) => actor.report.engine_share ?? 0,
  units: (actor) => actor.service.units.length,
  progress: (actor) => actor.service.progress_s,
  games: (actor) => actor.report.games ?? 0,
  rejected: (actor) => actor.report.rejected ?? 0,
  lag: (actor) => actor.lag ?? -1,
  age: (actor) => actor.age ?? -1,
  memory: (actor) => (actor.report.memory_bytes ?? 0) + (actor.report.engine_memory_bytes ?? 0),
};
const TEXTS = {
  positions: rate, engine: rate, busy: percent, units: count, progress: duration, games: count, rejected: count,
  lag: (value) => (value < 0 ? "none" : value === 0 ? "newest" : `${count(value)} behind`),
  age: (value) => (value < 0 ? "–" : duration(value)),
  memory: bytes,
};
const TITLES = [
  ["name", "Actor"], ["host", "Host"], ["state", "State"], ["positions", "Positions/s"], ["engine", "Nodes/s"],
  ["busy", "Engine busy"], ["units", "Units leased"], ["progress", "Progress ago"], ["games", "Games"], ["rejected", "Rejected"],
  ["lag", "Weights"], ["age", "Weights' age"], ["memory", "Memory"],
];
const LARGEST_FIRST = new Set(["positions", "engine", "busy", "units", "progress", "games", "rejected", "lag", "age", "memory"]);

/** The actors of a state of the store, each with its rates and how far its weights are behind the learners'. */
export function actorsOf({ status, rates, nodes }) {
  const newest = Object.fromEntries(status.agents.map((agent) => [agent.name, agent.version]));
  return status.services.filter((service) => service.role === "actor").map((service) => {
    const report = service.actor ?? {};
    const lags = Object.entries(report.weights ?? {}).map(([name, version]) => Math.max(0, (newest[name] ?? version) - version));
    const ages = Object.values(report.weights_age_s ?? {});
    return {
      service, report, rates: rates.actors?.[service.name] ?? {}, nodes: nodes.get(service.name) ?? null,
      lag: lags.length ? Math.max(...lags) : null, age: ages.length ? Math.max(...ages) : null,
    };
  });
}

export class Actors {
  #store;
  #grid;
  #selected = new Set();
  #last = null;
  #open = null;
  #sorted = { key: "name", down: false };
  #shown = [];

  constructor(store) {
    this.#store = store;
    const select = { key: "select", title: "", class: "tick", make: tickBox, fill: (cell, actor) => this.#tick(cell, actor) };
    this.#grid = new Grid(byId("actors-table"), {
      label: "Actors", fits: true, columns: [select, ...TITLES.map(([key, title]) => column(key, title))],
      row: (row, actor) => this.#row(row, actor), sort: (key) => key !== "select" && this.#sortBy(key),
      selects: (actor, range) => this.#select(actor, range), open: (actor) => this.#show(actor),
      click: (event, actor) => this.#click(event, actor),
    });
    byId("actors-sort").append(...TITLES.map(([key, title]) => h("option", { value: key }, title)));
    byId("actors-sort").addEventListener("change", (event) => this.#sortBy(event.target.value));
    byId("actors-descending").addEventListener("click", () => this.#turn());
    for (const id of ["actors-filter", "actors-state"]) byId(id).addEventListener("input", () => soon(this.draw));
    for (const button of byId("actors-orders").querySelectorAll("button")) {
      button.addEventListener("click", () => this.#order(button.dataset.action));
    }
    byId("one-actor-buttons").append(...ORDERS.map((action) => h("button", { type: "button", "data-action": action,
      onclick: () => order(this.#store, action, [this.#open]) }, action[0].toUpperCase() + action.slice(1))),
    h("button", { type: "button", class: "strong", onclick: () => byId("one-actor").close() }, "Close"));
  }

  /** Draw what is to be seen; call through `soon`. */
  draw = () => {
    if (!this.#store.status || !byId("actors-table").clientWidth) return;
    const all = actorsOf(this.#store);
    const filter = byId("actors-filter").value.trim().toLowerCase();
    const wanted = byId("actors-state").value;
    const found = all.filter((actor) => (!wanted || state(actor) === wanted)
      && `${actor.service.name} ${actor.service.host}`.toLowerCase().includes(filter));
    this.#shown = this.#arrange(found);
    this.#grid.show(this.#shown);
    const names = new Set(all.map((actor) => actor.service.name));
    this.#selected = new Set([...this.#selected].filter((name) => names.has(name)));
    this.#states(all);
    this.#summary(all, found);
    byId("actors-orders").hidden = !this.#store.mayOrder;
    this.#heads();
    if (byId("one-actor").open) this.#fill(all.find((actor) => actor.service.name === this.#open));
  };

  /** In order; but while one points at the table or is in it, rows stay where they are. */
  #arrange(found) {
    const { key, down } = this.#sorted;
    const value = VALUES[key];
    const compare = (one, other) => {
      const [a, b] = [value(one), value(other)];
      const by = typeof a === "number" ? a - b : collator.compare(a, b);
      return (down ? -by : by) || collator.compare(one.service.name, other.service.name);
    };
    const held = this.#grid.element.matches(":hover, :focus-within") && this.#heldFor === `${key} ${down}`;
    this.#heldFor = `${key} ${down}`;
    if (!held) return found.sort(compare);
    const places = new Map(this.#shown.map((actor, place) => [actor.service.name, place]));
    const place = (actor) => places.get(actor.service.name) ?? Infinity;
    return found.sort((one, other) => place(one) - place(other) || 0);
  }

  #heldFor = "";

  #states(all) {
    const select = byId("actors-state");
    const states = [...new Set(all.map(state))].sort();
    if (select.dataset.states === states.join()) return;
    select.dataset.states = states.join();
    const kept = select.value;
    select.replaceChildren(h("option", { value: "" }, "any"), ...states.map((name) => h("option", { value: name }, name)));
    select.value = states.includes(kept) ? kept : "";
  }

  #summary(all, found) {
    const bad = all.filter((actor) => ["away", "stuck"].includes(state(actor))).length;
    const total = found.reduce((sum, actor) => sum + VALUES.positions(actor), 0);
    say(byId("actors-summary"), `${count(found.length)} of ${things(all.length, "actor")} shown, ${rate(total)} positions/s`
      + (bad ? `, ▲ ${count(bad)} away or stuck` : ""));
    say(byId("actors-selected"), this.#selected.size ? `${count(this.#selected.size)} selected` : "");
  }

  #heads() {
    const { key, down } = this.#sorted;
    for (const head of this.#grid.head.children) {
      const own = head.dataset.column === key;
      mark(head, "aria-sort", own ? (down ? "descending" : "ascending") : null);
    }
    byId("actors-sort").value = key;
    mark(byId("actors-descending"), "aria-pressed", down);
  }

  #sortBy(key) {
    const down = this.#sorted.key === key ? !this.#sorted.down : LARGEST_FIRST.has(key);
    this.#sorted = { key, down };
    soon(this.draw);
  }

  #turn() {
    this.#sorted = { ...this.#sorted, down: !this.#sorted.down };
    soon(this.draw);
  }

  // Selection and orders ------------------------------------------------------------------------------

  #tick(cell, actor) {
    const box = cell.firstElementChild;
    box.checked = this.#selected.has(actor.service.name);
    mark(box, "aria-label", `Select ${actor.service.name}`);
  }

  #row(row, actor) {
    mark(row, "aria-selected", this.#selected.has(actor.service.name) ? "true" : "false");
    mark(row, "data-state", state(actor));
  }

  #click(event, actor) {
    if (event.target.closest(".tick")) this.#select(actor, event.shiftKey);
    else if (event.target.closest("[data-column=name]")) this.#show(actor);
  }

  #select(actor, range) {
    const { name } = actor.service;
    const here = this.#shown.findIndex((one) => one.service.name === name);
    const from = range ? this.#shown.findIndex((one) => one.service.name === this.#last) : -1;
    if (from >= 0) {
      for (const one of this.#shown.slice(Math.min(from, here), Math.max(from, here) + 1)) this.#selected.add(one.service.name);
    } else if (!this.#selected.delete(name)) this.#selected.add(name);
    this.#last = name;
    this.#grid.again();
    soon(this.draw);
  }

  #order(action) {
    const to = byId("orders-to").value;
    const all = actorsOf(this.#store).map((actor) => actor.service.name);
    const names = { selected: [...this.#selected], shown: this.#shown.map((actor) => actor.service.name), all }[to];
    order(this.#store, action, names.toSorted(collator.compare), to === "all");
  }

  // One actor -----------------------------------------------------------------------------------------

  #show(actor) {
    this.#open = actor.service.name;
    for (const button of byId("one-actor-buttons").querySelectorAll("[data-action]")) button.hidden = !this.#store.mayOrder;
    byId("one-actor-title").textContent = this.#open;
    byId("one-actor-body").replaceChildren(h("dl", { class: "facts" }));
    this.#fill(actor);
    byId("one-actor").showModal();
  }

  #fill(actor) {
    if (!actor) return;
    const { service, report } = actor;
    const facts = [
      ["Host", `${service.host}, process ${service.pid}`], ["State", `${SIGNS[state(actor)] ?? ""} ${state(actor)}`],
      ...TITLES.slice(3).map(([key, title]) => [title, TEXTS[key](VALUES[key](actor))]),
      ["Last message", `${duration(service.seen_s)} ago`], ["Waiting for units", percent(report.lease_wait_share)],
      ["Engine restarts", count(report.engine_restarts)], ["Transitions", count(report.transitions)],
      ["Games from the store", count(report.cached_games)],
      ["Units in hand", service.units.length ? service.units.join(", ") : "none"],
      ...Object.entries(report.weights ?? {}).map(([name, version]) =>
        [`Weights of ${name}`, `version ${count(version)}, ${duration(report.weights_age_s?.[name])} old`]),
    ];
    byId("one-actor-body").firstElementChild.replaceChildren(...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  }
}

const tickBox = (cell) => cell.append(h("input", { type: "checkbox", tabindex: "-1" }));

function column(key, title) {
  if (key === "name") return { key, title, fill: (cell, actor) => say(cell, actor.service.name) };
  if (key === "host") return { key, title, fill: (cell, actor) => say(cell, actor.service.host) };
  if (key === "state") return { key, title, fill: (cell, actor) => say(cell, `${SIGNS[state(actor)] ?? "·"} ${state(actor)}`) };
  return { key, title, class: "number", fill: (cell, actor) => say(cell, TEXTS[key](VALUES[key](actor))) };
}
