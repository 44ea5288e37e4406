// What the page knows: the last status, rates, curves, log records, spans and the game. Tells listeners by topic:
// status, link, series, logs, spans, game. Holds no element of the page.

import { History } from "./history.js";
import { Records } from "./records.js";
import { Spans } from "./spans.js";

const NODES_OVER = 11; // statuses
const MOST_POINTS = 4000; // of an agent's curve

export class Store {
  status = null;
  statusAt = 0; // when the status was fresh, by performance.now()
  broker = { state: "waiting", reason: "" };
  rates = {};
  settings = {};
  directory = "";
  mayOrder = false;
  token = "";
  link = "connecting"; // connecting, live, lost
  clockAhead = 0; // milliseconds by which the server's clock is ahead of ours
  series = new Map();
  records = new Records();
  spans = new Spans();
  game = null;
  history = new History();
  nodes = new Map(); // actor → nodes that its engine searches in a second
  #counts = []; // of the last statuses: [milliseconds, actor → [process, nodes]]
  #listeners = new Map();

  /** Call `listener` whenever the topic has news. */
  on(topic, listener) {
    this.#listeners.set(topic, [...(this.#listeners.get(topic) ?? []), listener]);
  }

  tell(topic) {
    for (const listener of this.#listeners.get(topic) ?? []) listener();
  }

  /** The agents' names in the order of the settings, then those of which only curves are known. */
  get agents() {
    return [...new Set([...(this.status?.agents ?? []).map((agent) => agent.name), ...this.series.keys()])];
  }

  /** Whether the run is over: trained on all, and the last weights written. */
  get finished() {
    const learners = (this.status?.services ?? []).filter((service) => service.learner);
    return Boolean(this.status?.finished) && learners.every((service) => service.learner.finished);
  }

  get troubles() {
    return this.records.troubles;
  }

  /** The server's time, milliseconds since 1970. */
  get now() {
    return Date.now() + this.clockAhead;
  }

  /** How old the status is, in seconds. */
  get age() {
    return (performance.now() - this.statusAt) / 1000;
  }

  setLink(link) {
    if (link === this.link) return;
    this.link = link;
    this.tell("link");
  }

  takeState(state) {
    this.settings = state.run?.settings ?? {};
    this.directory = state.run?.directory ?? "";
    this.mayOrder = Boolean(state.may_order);
    this.token = state.order_token ?? "";
    this.series = new Map(Object.entries(state.series ?? {}).map(([name, list]) => [name, list.map(dated)]));
    this.takeStatus(state);
    this.tell("series");
  }

  takeStatus(news) {
    if (news.now) this.clockAhead = Date.parse(news.now) - Date.now();
    this.broker = news.broker ?? this.broker;
    this.rates = news.rates ?? {};
    if (news.status) {
      this.status = news.status;
      this.statusAt = performance.now() - (news.status_age_s ?? 0) * 1000;
      if (this.broker.state === "answers") {
        this.history.add(this.rates);
        this.#countNodes();
      }
    }
    this.tell("status");
  }

  #countNodes() {
    const actors = this.status.services.filter((service) => service.actor);
    const now = new Map(actors.map((service) => [service.name, [service.pid, service.actor.engine_nodes ?? null]]));
    this.#counts.push([performance.now(), now]);
    if (this.#counts.length > NODES_OVER) this.#counts.shift();
    const [then, before] = this.#counts[0];
    const seconds = (performance.now() - then) / 1000;
    this.nodes.clear();
    for (const [name, [process, nodes]] of now) {
      const [old, from] = before.get(name) ?? [];
      if (seconds > 0.5 && old === process && nodes !== null && nodes >= from) this.nodes.set(name, (nodes - from) / seconds);
    }
  }

  /** Add intervals; what one says anew takes the place of what was said before, and of what came after that. */
  takeIntervals(intervals) {
    for (const interval of intervals.map(dated)) {
      const list = this.series.get(interval.agent) ?? [];
      while (list.length && list.at(-1).last_unit >= interval.first_unit && list.at(-1).step >= interval.step) list.pop();
      list.push(interval);
      this.series.set(interval.agent, list.length > MOST_POINTS ? thinned(list) : list);
    }
    this.tell("series");
  }

  takeSpans(spans) {
    this.spans.add(spans, this.now);
    this.tell("spans");
  }

  takeGame(game) {
    this.game = game;
    this.tell("game");
  }
}

/** Every second point, all validations (unless they are most of it), and the newest point. */
export function thinned(list) {
  const validated = list.filter((interval) => interval.validation_loss != null).length < MOST_POINTS / 4;
  return list.filter((interval, index) => index % 2 === 0 || index === list.length - 1 || (validated && interval.validation_loss != null));
}

const dated = (interval) => ({ ...interval, at: Date.parse(interval.time) });
