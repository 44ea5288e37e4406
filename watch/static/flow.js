// The flow as a diagram: sources → broker → actors → learners and the weights' way back. Side by side where there is
// room, one below the other on a phone. Drawn in CSS pixels, so that its text has the size of the page's.

import { count, duration, percent, rate, things } from "./format.js";
import { byId, soon, svg } from "./dom.js";

const BOX = 232; // width of a box beside others
const MOST_LEARNERS = 6;
const LINE = 18;
const NARROW = 1090; // less, and the boxes stand one below the other
const WIDEST = 560; // of boxes one below the other

const HELD_BACK_BY = { // boxes, where it is no learner
  "Stockfish-bound": ["actors"], "actor-bound": ["actors"], waiting: ["actors"],
  "network-bound": ["broker", "actors"], "broker-bound": ["broker"],
};

/** Which boxes hold the run back, as a status names them: broker, actors, learner:NAME, or none. */
export function culprits({ bottleneck_kind: kind, bottleneck_agents: agents }) {
  return agents.length ? agents.map((agent) => `learner:${agent}`) : (HELD_BACK_BY[kind] ?? []);
}

const known = (values) => values.filter((value) => value !== null && value !== undefined);
const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);

/** What the boxes and arrows say, from a state of the store. */
export function figures({ status, rates, settings }) {
  const actors = status.services.filter((service) => service.role === "actor");
  const there = actors.filter((actor) => actor.state !== "away");
  const window = settings.max_units_ahead ?? null;
  const slowest = Math.min(...status.agents.map((agent) => agent.units_trained));
  const ahead = Math.max(0, ...status.agents.map((agent) => agent.units_stored + agent.leased)) - slowest;
  const share = mean(known(there.map((actor) => actor.actor?.engine_share)));
  const flight = status.agents.reduce((sum, agent) => sum + agent.in_flight, 0);
  const boxes = {
    sources: {
      title: "Sources",
      lines: [
        `${count(status.games_cut)} of ${status.games_total === null ? "?" : count(status.games_total)} games cut`,
        `${percent(status.fraction_read)} of the bytes read`,
      ],
      bars: [{ name: "read", share: status.fraction_read }],
    },
    broker: {
      title: "Broker",
      lines: [
        `window ${count(Math.max(0, ahead))}${window ? ` of ${count(window)}` : ""} units ahead`,
        `loop busy ${percent(status.broker_share)}, ${count(flight)} in flight`,
      ],
      bars: [
        ...(window ? [{ name: "window", share: Math.max(0, ahead) / window }] : []),
        { name: "loop", share: status.broker_share },
      ],
    },
    actors: {
      title: `${count(there.length)} of ${things(actors.length, "actor")}`,
      lines: [
        `${rate(rates.positions_per_s)} positions/s`,
        `engines busy ${percent(share)}, ${count(there.reduce((sum, actor) => sum + actor.units.length, 0))} units`,
      ],
      bars: [{ name: "engines", share: share ?? 0 }],
    },
    learners: status.agents.slice(0, MOST_LEARNERS).map((agent) => learner(agent, status, rates, settings)),
    more: Math.max(0, status.agents.length - MOST_LEARNERS),
  };
  return { boxes, marked: culprits(status), edges: edges(status, rates, there) };
}

function learner(agent, status, rates, settings) {
  const units = status.units_total ?? status.games_cut / (settings.games_per_unit || 1);
  const report = status.services.find((service) => service.learner?.agent === agent.name)?.learner;
  const away = agent.learner !== "connected";
  return {
    key: `learner:${agent.name}`,
    title: `Learner ${agent.name}`,
    away,
    lines: [
      away ? agent.learner : `${rate(rates.agents?.[agent.name]?.trained_per_s)} transitions/s trained`,
      `${count(agent.units_trained)} of ${status.units_total === null ? "?" : count(status.units_total)} units, ` +
        `v${count(agent.version)}`,
    ],
    bars: [
      { name: "trained", share: agent.units_trained / Math.max(1, units) },
      { name: "busy", share: away ? 0 : (report?.train_share ?? 0) },
    ],
  };
}

function edges(status, rates, actors) {
  const ages = actors.flatMap((actor) => Object.values(actor.actor?.weights_age_s ?? {}));
  return {
    games: { rate: rates.games_per_s, text: `${rate(rates.games_per_s)} games/s` },
    units: { rate: rates.units_per_s, text: `${rate(rates.units_per_s)} units/s` },
    batches: { rate: rates.transitions_per_s, text: `${rate(rates.transitions_per_s)} transitions/s` },
    weights: {
      rate: ages.length,
      text: ages.length ? `weights, up to ${duration(Math.max(...ages))} old` : "weights: none taken",
    },
  };
}

/** The diagram in `host`, drawn anew on `show`; only what is seen is drawn. */
export class Flow {
  #host;
  #state = null;
  #width = 0;

  constructor(host) {
    this.#host = host;
    new ResizeObserver(() => {
      if (Math.abs(host.clientWidth - this.#width) > 1) soon(this.#draw);
    }).observe(host);
  }

  show(state) {
    this.#state = state;
    soon(this.#draw);
  }

  #draw = () => {
    const width = this.#host.clientWidth;
    if (!this.#state?.status || !width) return;
    this.#width = width;
    const seen = figures(this.#state);
    const drawing = width < NARROW ? below(seen, width) : beside(seen, width);
    this.#host.replaceChildren(drawing);
  };
}

function canvas(width, height, seen) {
  const { boxes, edges } = seen;
  const all = [boxes.sources, boxes.broker, boxes.actors, ...boxes.learners];
  const told = all.map((box) => `${box.title}: ${box.lines.join(", ")}.`).join(" ");
  return svg(
    "svg",
    { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": "flow-title flow-told" },
    svg("desc", { id: "flow-told" }, `${told} Cut: ${edges.games.text}. Leased: ${edges.units.text}. ` +
      `To the learners: ${edges.batches.text}. Back: ${edges.weights.text}.`),
    svg("defs", {}, ...["", "still"].map((kind) =>
      svg("marker", { id: `tip${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8,
        markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" },
      svg("path", { d: "M0 0 8 4 0 8z", class: `tip ${kind}` })))),
  );
}

function box(found, x, y, width, marked) {
  const height = boxHeight(found);
  const group = svg("g", { class: `box${marked ? " marked" : ""}${found.away ? " away" : ""}`, transform: `translate(${x} ${y})` },
    svg("rect", { width, height, rx: 4 }),
    svg("text", { x: 12, y: 22, class: "title" }, found.title));
  if (marked) {
    group.append(svg("g", { class: "tag", transform: `translate(${width - 88} -10)` },
      svg("rect", { width: 80, height: 20, rx: 3 }), svg("text", { x: 40, y: 14 }, "bottleneck")));
  }
  found.lines.forEach((line, index) => group.append(svg("text", { x: 12, y: 42 + index * LINE }, line)));
  const top = 50 + (found.lines.length - 1) * LINE;
  found.bars.forEach((bar, index) => {
    const y = top + index * 16;
    const track = width - 12 - 12 - 54;
    group.append(
      svg("text", { x: 12, y: y + 9, class: "small" }, bar.name),
      svg("rect", { x: 66, y, width: track, height: 8, rx: 2, class: "track" }),
      svg("rect", { x: 66, y, width: Math.max(0, Math.min(1, bar.share || 0)) * track, height: 8, rx: 2, class: "fill" }));
  });
  return group;
}

const boxHeight = (found) => 56 + (found.lines.length - 1) * LINE + found.bars.length * 16;

function arrow(points, edge, label, anchor = "middle") {
  const still = !(edge.rate > 0);
  const path = `M${points.map((point) => point.join(" ")).join("L")}`;
  return svg("g", { class: `edge${still ? " still" : ""}` },
    svg("path", { d: path, "marker-end": `url(#tip${still ? "still" : ""})` }),
    svg("text", { x: label[0], y: label[1], "text-anchor": anchor }, edge.text));
}

function beside({ boxes, marked, edges }, width) {
  const heights = boxes.learners.map(boxHeight);
  const gap = 16;
  const rightHeight = heights.reduce((sum, height) => sum + height + gap, -gap) + (boxes.more ? 24 : 0);
  const main = Math.max(boxHeight(boxes.broker), boxHeight(boxes.actors), boxHeight(boxes.sources));
  const body = Math.max(rightHeight, main);
  const height = body + 14 + 46;
  const across = Math.min(BOX, Math.floor((width - 3 * 108) / 4));
  const between = (width - 4 - 4 * across) / 3;
  const x = [0, 1, 2, 3].map((column) => 2 + column * (across + between));
  const middle = 14 + body / 2;
  const drawing = canvas(width, height, { boxes, edges });
  const centred = (found) => middle - boxHeight(found) / 2;
  const add = (found, column, key) => drawing.append(box(found, x[column], centred(found), across, marked.includes(key)));
  const label = (column) => [x[column] + across + between / 2, middle - 10];
  add(boxes.sources, 0, "sources");
  add(boxes.broker, 1, "broker");
  add(boxes.actors, 2, "actors");
  drawing.append(arrow([[x[0] + across, middle], [x[1] - 3, middle]], edges.games, label(0)));
  drawing.append(arrow([[x[1] + across, middle], [x[2] - 3, middle]], edges.units, label(1)));
  let y = 14 + (body - rightHeight) / 2;
  const split = x[3] - 26;
  const [rateText, ...unit] = edges.batches.text.split(" ");
  boxes.learners.forEach((found, index) => {
    drawing.append(box(found, x[3], y, across, marked.includes(found.key)));
    const to = y + heights[index] / 2;
    const points = [[x[2] + across, middle], [split, middle], [split, to], [x[3] - 3, to]];
    const part = arrow(points, { ...edges.batches, text: index ? "" : rateText }, [x[2] + across + (split - x[2] - across) / 2, middle - 10]);
    drawing.append(part);
    y += heights[index] + gap;
  });
  drawing.append(svg("text", { x: x[2] + across + (split - x[2] - across) / 2, y: middle + 20, class: "edge-unit", "text-anchor": "middle" }, unit.join(" ")));
  if (boxes.more) drawing.append(svg("text", { x: x[3] + 12, y: y + 8, class: "small" }, `and ${things(boxes.more, "more learner")}`));
  const under = height - 20;
  const from = [x[3] + across / 2, 14 + (body + rightHeight) / 2];
  drawing.append(arrow([from, [from[0], under], [x[2] + across / 2, under], [x[2] + across / 2, centred(boxes.actors) + boxHeight(boxes.actors) + 3]],
    edges.weights, [(from[0] + x[2] + across / 2) / 2, under - 8]));
  return drawing;
}

function below({ boxes, marked, edges }, width) {
  const left = 1;
  const across = Math.min(WIDEST, width - 2 - 28);
  const step = 40;
  const column = [["sources", boxes.sources, edges.games], ["broker", boxes.broker, edges.units],
    ["actors", boxes.actors, edges.batches], ...boxes.learners.map((found) => [found.key, found, null])];
  const height = column.reduce((sum, [, found, edge]) => sum + boxHeight(found) + (edge ? step : 16), 20) + (boxes.more ? 24 : 0);
  const drawing = canvas(width, height, { boxes, edges });
  let y = 12;
  let back = 0;
  for (const [key, found, edge] of column) {
    drawing.append(box(found, left, y, across, marked.includes(key)));
    if (key === "actors") back = y + boxHeight(found) / 2;
    y += boxHeight(found);
    if (edge) drawing.append(arrow([[left + 40, y], [left + 40, y + step - 3]], edge, [left + 54, y + step / 2 + 4], "start"));
    y += edge ? step : 16;
  }
  const last = y - 16 - boxHeight(column.at(-1)[1]) / 2;
  const edge = left + across + 16;
  drawing.append(arrow([[left + across, last], [edge, last], [edge, back], [left + across + 3, back]], { ...edges.weights, text: "" }, [0, 0]));
  drawing.append(svg("text", { x: left + across, y: y + (boxes.more ? 12 : 0), class: "edge-unit", "text-anchor": "end" }, edges.weights.text));
  if (boxes.more) drawing.append(svg("text", { x: left + 12, y: y - 4, class: "small" }, `and ${things(boxes.more, "more learner")}`));
  return drawing;
}

/** Say the bottleneck in words, its name apart from the reason. */
export function sayBottleneck(status) {
  const [name, ...why] = (status?.bottleneck ?? "–").split(":");
  byId("bottleneck-name").textContent = name;
  byId("bottleneck-why").textContent = why.length ? `: ${why.join(":").trim()}` : "";
}
