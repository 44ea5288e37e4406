// The figures at the top, the agents' cards and the accounting. Owns the section #overview but for the flow.

import { byId, h, keyed, mark, say, svg } from "./dom.js";
import { count, decimal, duration, percent, rate, things } from "./format.js";
import { line } from "./history.js";

const POINTS = 120; // of the small curves
const WIDTH = 120;
const HEIGHT = 26;

const FIGURES = [
  ["positions_per_s", "Positions", "/s", (state) => rate(state.rates.positions_per_s)],
  ["games_per_s", "Games", "/s", (state) => rate(state.rates.games_per_s)],
  ["transitions_per_s", "Transitions", "/s", (state) => rate(state.rates.transitions_per_s)],
  ["trained_per_s", "Trained", "/s", (state) => rate(state.rates.trained_per_s)],
  ["actors", "Actors at work", "", (state) => atWork(state.status)],
  ["read", "Games cut", "", (state) => `${count(state.status.games_cut)}`],
  ["uptime", "Broker up", "", (state) => duration(state.status.uptime_s)],
  ["dropped", "Messages dropped", "", (state) => count(sum(state.status.dropped))],
];

const sum = (counts) => Object.values(counts).reduce((total, value) => total + value, 0);

function atWork(status) {
  const actors = status.services.filter((service) => service.role === "actor");
  return `${count(actors.filter((actor) => actor.state === "working").length)} of ${count(actors.length)}`;
}

/** Draw the strip of figures. */
export function showFigures(state) {
  keyed(byId("figures"), FIGURES, ([key]) => key, makeFigure, (element, [key, , , value]) => {
    say(element.querySelector(".value"), value(state));
    const path = state.history.path(key, WIDTH, HEIGHT);
    mark(element.querySelector("path"), "d", path);
    if (key === "dropped") mark(element, "data-bad", sum(state.status.dropped) > 0 ? "yes" : null);
  });
}

function makeFigure([, name, unit]) {
  return h("div", { class: "figure" },
    h("dt", {}, name),
    h("dd", {}, h("span", { class: "value" }), unit && h("span", { class: "unit" }, unit)),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", { d: "" })));
}

/** Draw one card for each agent. */
export function showAgents(state) {
  keyed(byId("agents"), state.status.agents, (agent) => agent.name, makeCard, (card, agent) => fillCard(card, agent, state));
}

const ROWS = [
  ["stored", "Transitions stored"], ["trained", "Transitions trained"], ["loss", "Loss"], ["heldloss", "Held-out loss"],
  ["match", "Move match"], ["heldmatch", "Held-out match"], ["td", "TD error"], ["step", "Gradient step"],
  ["version", "Weights"], ["ages", "At the actors"],
];
const CURVED = { loss: "q_loss", td: "td_error", match: "match_top1", heldloss: "validation_loss", heldmatch: "validation_match_top1" };

function makeCard(agent) {
  const title = `agent-${agent.name}`;
  return h("article", { class: "card", "aria-labelledby": title },
    h("header", {}, h("h4", { id: title }, agent.name), h("span", { class: "state" })),
    h("div", { class: "stack", role: "img" }, h("i", { class: "trained" }), h("i", { class: "stored" }), h("i", { class: "leased" })),
    h("p", { class: "progress" }),
    h("dl", {}, ...ROWS.map(([key, name]) => h("div", { "data-row": key }, h("dt", {}, name), h("dd", {}),
      CURVED[key] && svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, svg("path", {}))))));
}

function fillCard(card, agent, state) {
  const learner = state.status.services.find((service) => service.learner?.agent === agent.name);
  const series = state.series.get(agent.name) ?? [];
  const away = agent.learner !== "connected" || learner?.state === "away";
  const found = card.querySelector(".state");
  say(found, away ? `▲ learner ${agent.learner === "connected" ? "away" : agent.learner}` : (learner?.state ?? agent.learner));
  mark(found, "data-bad", away ? "yes" : null);
  progress(card, agent, state);
  for (const [key, text] of Object.entries(rows(agent, learner?.learner, series, state))) {
    say(card.querySelector(`[data-row=${key}] dd`), text);
  }
  if (drawn.get(card) === series.at(-1)) return;
  drawn.set(card, series.at(-1));
  for (const [key, field] of Object.entries(CURVED)) {
    mark(card.querySelector(`[data-row=${key}] path`), "d", line(lastValues(series, field), WIDTH, HEIGHT));
  }
}

const drawn = new WeakMap(); // card → the newest interval that its small curves show

/** The last POINTS figures of a curve. */
function lastValues(series, field) {
  const values = [];
  for (let index = series.length - 1; index >= 0 && values.length < POINTS; index -= 1) {
    const value = series[index][field];
    if (value !== null && value !== undefined) values.push(value);
  }
  return values.reverse();
}

function progress(card, agent, { status }) {
  const total = status.units_total;
  const shares = { trained: agent.units_trained, stored: agent.units_stored - agent.units_trained, leased: agent.leased };
  const full = total ?? Math.max(1, agent.units_stored + agent.leased);
  for (const [name, value] of Object.entries(shares)) {
    card.querySelector(`i.${name}`).style.width = `${(100 * Math.max(0, value)) / Math.max(1, full)}%`;
  }
  const of = total === null ? "?" : count(total);
  const text = `${count(agent.units_trained)} trained · ${count(agent.units_stored)} stored · ${count(agent.leased)} leased · of ${of} units`;
  say(card.querySelector(".progress"), text);
  mark(card.querySelector(".stack"), "aria-label", text);
}

function latest(series, field) {
  for (let index = series.length - 1; index >= 0; index -= 1) {
    const value = series[index][field];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

function rows(agent, report, series, { status, rates }) {
  const own = rates.agents?.[agent.name] ?? {};
  const match = report?.move_match ?? latest(series, "match_top1");
  return {
    stored: `${count(agent.stored)} · ${rate(own.stored_per_s)}/s`,
    trained: `${count(report?.transitions_trained)} · ${rate(own.trained_per_s)}/s`,
    loss: decimal(report?.loss ?? agent.loss, 4),
    td: decimal(report?.td_error ?? latest(series, "td_error"), 4),
    match: percent(match, 1),
    heldloss: decimal(latest(series, "validation_loss"), 4),
    heldmatch: percent(latest(series, "validation_match_top1"), 1),
    step: count(agent.step),
    version: agent.version ? `version ${count(agent.version)}` : "none published",
    ages: atActors(agent.name, status),
  };
}

/** Which versions of an agent's weights the actors have, and how long since they came. */
export function atActors(name, status) {
  const having = status.services.filter((service) => service.actor && name in (service.actor.weights ?? {}));
  if (!having.length) return "none taken";
  const versions = having.map((service) => service.actor.weights[name]);
  const ages = having.map((service) => service.actor.weights_age_s[name] ?? 0);
  const [low, high] = [Math.min(...versions), Math.max(...versions)];
  const range = low === high ? `v${count(low)}` : `v${count(low)}–v${count(high)}`;
  return `${range}, up to ${duration(Math.max(...ages))} old`;
}

/** Draw the accounting: both identities of each agent, in numbers, and whether they hold. */
export function showAccounts({ status }) {
  const box = byId("accounts");
  if (!box.firstElementChild) {
    box.append(
      account("games", "Games"), account("transitions", "Transitions"));
  }
  for (const [kind, numbers] of [["games", gameNumbers], ["transitions", transitionNumbers]]) {
    keyed(box.querySelector(`[data-kind=${kind}] tbody`), status.agents, (agent) => agent.name,
      (agent) => makeAccount(agent, kind), (row, agent) => fillAccount(row, numbers(agent), agent));
  }
}

const gameNumbers = ({ totals }) => [totals.games_read, totals.games_used, totals.games_unselected, sum(totals.rejected)];
const transitionNumbers = (agent) => [agent.produced, agent.stored, agent.duplicates, agent.in_flight];
const SIGNS = ["=", "+", "+", ""];
const PARTS = { games: ["read", "used", "unselected", "rejected"], transitions: ["produced", "stored", "duplicates", "in flight"] };

// Roles in words: on a phone the rows are laid out as grids, which takes a table's own roles away.
function account(kind, caption) {
  const head = (text, kindOf = "") => h("th", { scope: "col", role: "columnheader", class: kindOf }, text);
  return h("table", { "data-kind": kind, role: "table" }, h("caption", {}, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head("agent"), ...PARTS[kind].map((name) => head(name, "number")), head("identity"))),
    h("tbody", { role: "rowgroup" }));
}

function makeAccount(agent, kind) {
  const cells = SIGNS.map((sign, index) => h("td", { class: "number", role: "cell", "data-name": PARTS[kind][index] },
    h("span"), h("b", { "aria-hidden": "true" }, sign)));
  return h("tr", { role: "row" }, h("th", { scope: "row", role: "rowheader" }, agent.name), ...cells, h("td", { class: "closed", role: "cell" }));
}

function fillAccount(row, numbers, agent) {
  const [total, ...parts] = numbers;
  const difference = total - parts.reduce((all, part) => all + part, 0);
  [...row.querySelectorAll("td.number span")].forEach((cell, index) => say(cell, count(numbers[index])));
  const cell = row.querySelector(".closed");
  say(cell, difference === 0 ? "✓ closed" : `▲ open by ${count(difference)}`);
  mark(cell, "data-bad", difference === 0 ? null : "yes");
  mark(row, "title", rejections(agent));
}

function rejections({ totals }) {
  const reasons = Object.entries(totals.rejected).map(([reason, games]) => `${reason}: ${things(games, "game")}`);
  return reasons.length ? `Rejected: ${reasons.join(", ")}` : null;
}
