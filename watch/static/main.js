// The page: wires the store, the stream and the views, routes by the address's hash, and reads the single keys.
//
// stream.js → store.js → views (overview, flow, curves, actors, logs, board, timeline); feed.js fills records.js.
// A view draws only while it is in sight, at most once a frame.

import { Actors } from "./actors.js";
import { Board } from "./board.js";
import { Curves } from "./curves.js";
import { byId, mark, say, soon } from "./dom.js";
import { Feed } from "./feed.js";
import { Flow, sayBottleneck } from "./flow.js";
import { count, duration } from "./format.js";
import { Logs } from "./logs.js";
import { showAccounts, showAgents, showFigures } from "./overview.js";
import { Store } from "./store.js";
import { Stream } from "./stream.js";
import { Timeline } from "./timeline.js";

const VIEWS = ["overview", "curves", "actors", "logs", "board", "timeline"];
const FILTERS = { actors: "actors-filter", logs: "logs-text", timeline: "timeline-filter" };
const OLD_S = 5; // of a status: older is said

const store = new Store();
const feed = new Feed(store);
const curves = new Curves(store, (record) => {
  location.hash = "logs";
  logs.reveal(record);
});
const logs = new Logs(store, feed, (record) => {
  location.hash = "curves";
  curves.choose(record);
});
const actors = new Actors(store);
const board = new Board(store);
const timeline = new Timeline(store);
const flow = new Flow(byId("flow"));

function drawOverview() {
  if (!store.status || byId("view-overview").hidden) return;
  sayBottleneck(store.status);
  showFigures(store);
  flow.show(store);
  showAgents(store);
  showAccounts(store);
}

const DRAW = { overview: drawOverview, curves: curves.draw, actors: actors.draw, logs: logs.draw, board: board.draw, timeline: timeline.draw };

store.on("status", () => {
  soon(drawOverview);
  soon(drawHead);
  soon(actors.draw);
});
store.on("series", () => {
  soon(drawOverview);
  soon(curves.draw);
});
store.on("logs", () => soon(drawHead));
store.on("link", () => soon(drawHead));

// Head: the run, the connection, counts ---------------------------------------------------------------

function drawHead() {
  say(byId("run"), store.directory);
  const [state, text] = linkInWords();
  mark(byId("link"), "data-state", state);
  say(byId("link-text"), text);
  const trouble = troubleInWords();
  say(byId("trouble"), trouble);
  byId("trouble").hidden = !trouble;
  const services = store.status?.services ?? [];
  const here = services.filter((service) => service.role === "actor");
  say(byId("nav-actors"), here.length ? count(here.length) : "");
  say(byId("nav-errors"), store.records.errors ? `▲ ${count(store.records.errors)}` : "");
  mark(byId("nav-errors"), "aria-label", store.records.errors ? `${count(store.records.errors)} errors` : null);
  document.title = `${trouble ? "▲ " : ""}Rookery – ${store.directory.split("/").filter(Boolean).at(-1) ?? "dashboard"}`;
}

function linkInWords() {
  if (store.link === "connecting") return ["waiting", "Connecting"];
  if (store.link === "lost") return ["bad", "No connection"];
  if (store.finished) return ["done", "Finished"];
  return store.broker.state === "answers" ? ["live", "Live"] : ["bad", `Broker ${store.broker.state}`];
}

function troubleInWords() {
  const old = store.status && store.age > OLD_S ? ` The figures are ${duration(store.age)} old.` : "";
  if (store.link === "lost") return `▲ The dashboard does not answer. Trying again every two seconds.${old}`;
  if (store.finished && store.broker.state === "away") return ""; // it has nothing more to do
  if (store.link === "live" && !["answers", "waiting"].includes(store.broker.state)) {
    const reason = store.broker.reason ? `: ${store.broker.reason}` : "";
    return `▲ The broker is ${store.broker.state}${reason}.${old}`.replace("..", ".");
  }
  return old && store.link === "live" ? `▲${old}` : "";
}

setInterval(() => (store.link !== "live" || store.age > OLD_S) && soon(drawHead), 1000);

// Views ------------------------------------------------------------------------------------------------

let view = "";

function route(focus) {
  const asked = location.hash.slice(1);
  const next = VIEWS.includes(asked) ? asked : view || "overview";
  for (const name of VIEWS) byId(`view-${name}`).hidden = name !== next;
  for (const link of document.querySelectorAll(".views a")) {
    const own = link.hash === `#${next}`;
    mark(link, "aria-current", own ? "page" : null);
    if (own) link.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  if (next !== view && focus) {
    scrollTo(0, 0);
    byId(`${next}-title`).focus({ preventScroll: true });
  }
  view = next;
  soon(DRAW[next]);
}

addEventListener("hashchange", () => route(true));
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});

// Keys ----------------------------------------------------------------------------------------------------

const typing = (target) => target.closest?.("input:not([type=checkbox]), select, textarea, dialog");

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (view === "board" && board.key(event)) return;
  if (!byId("keys-on").checked) return;
  const number = Number(event.key);
  if (number >= 1 && number <= VIEWS.length) location.hash = VIEWS[number - 1];
  else if (event.key === "/" && FILTERS[view]) byId(FILTERS[view]).focus();
  else if (event.key === "t") byId("theme").click();
  else if (event.key === "?") byId("keys-dialog").showModal();
  else return;
  event.preventDefault();
});
byId("keys").addEventListener("click", () => byId("keys-dialog").showModal());

route(false);
new Stream(store, feed).open();
globalThis.rookery = { store, curves }; // for tests, and for a look from the browser's console
