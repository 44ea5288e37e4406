// The latest game that was worked on, replayed: Stockfish's evaluation bar, the agent's top moves with their Q, and
// the transition that was made of each ply. Owns the section #board.

import { byId, h, keyed, mark, say, soon, svg } from "./dom.js";
import { clock, count, decimal, percent } from "./format.js";
import { got } from "./stream.js";

const PLAY_MS = 900;
const JUDGE_MS = 150; // of stillness before a position is judged
const MOST_ARROWS = 3;
const FILES = "abcdefgh";
const NAMES = { p: "pawn", n: "knight", b: "bishop", r: "rook", q: "queen", k: "king" };

export class Board {
  #store;
  #game = null;
  #at = 0;
  #turned = false;
  #latest = true;
  #timer = null;
  #asked = "";
  #versions = ""; // of the agents' weights, by which all judgements were made
  #behind = false; // whether what is shown was made by older weights than those
  #judging = null;
  #judgements = new Map();
  #squares = [];
  #arrows = svg("svg", { class: "arrows", viewBox: "0 0 8 8", "aria-hidden": "true" });

  constructor(store) {
    this.#store = store;
    this.#squares = Array.from({ length: 64 }, (_, index) => h("div", { class: `square ${(index + (index >> 3)) % 2 ? "dark" : "light"}` }));
    byId("board-squares").append(...this.#squares, this.#arrows);
    const buttons = { first: () => this.#go(0), back: () => this.#go(this.#at - 1), on: () => this.#go(this.#at + 1), last: () => this.#go(Infinity),
      play: () => this.#play(this.#timer === null), turn: () => this.#turn(), latest: () => this.#setLatest(!this.#latest) };
    for (const [name, act] of Object.entries(buttons)) byId(`board-${name}`).addEventListener("click", act);
    byId("view-board").addEventListener("keydown", (event) => this.#key(event));
    store.on("game", () => soon(this.draw));
    store.on("status", () => this.#judgeAnew());
    this.#makePlies();
  }

  /** Whether a key of the document is for the board; does what it says. */
  key(event) {
    return this.#key(event);
  }

  /** Draw what is to be seen; call through `soon`. */
  draw = () => {
    const { game } = this.#store;
    if (game && (this.#game === null || (this.#latest && this.#isOther(game)))) this.#take(game);
    if (!this.#game || !byId("view-board").clientWidth) return;
    this.#drawPosition();
    this.#drawPlies();
    this.#askJudge();
  };

  #isOther(game) {
    return game.time !== this.#game.time || game.game !== this.#game.game || game.actor !== this.#game.actor;
  }

  #take(game) {
    this.#game = game;
    this.#at = Math.min(this.#at && this.#timer ? 0 : this.#at, game.plies.length);
    if (this.#timer === null && this.#at === 0) this.#at = Math.min(game.plies.length, 12);
    byId("board-layout").hidden = false;
    const agents = game.agents.length ? `, for ${game.agents.join(" and ")}` : "";
    say(byId("board-game"), `Game ${count(game.game)} of unit ${count(game.unit)}: ${file(game.source)}, line ${count(game.line)}. `
      + `${game.result}, ${count(game.plies.length)} plies, worked on by ${game.actor} at ${clock(Date.parse(game.time), 0)} UTC${agents}.`);
  }

  // Steps ---------------------------------------------------------------------------------------------

  #go(place) {
    if (!this.#game) return;
    if (this.#latest) this.#setLatest(false);
    this.#at = Math.max(0, Math.min(this.#game.plies.length, place));
    soon(this.draw);
  }

  #play(on) {
    clearInterval(this.#timer);
    this.#timer = null;
    if (on && this.#game) {
      if (this.#at >= this.#game.plies.length) this.#go(0);
      this.#timer = setInterval(() => {
        if (this.#at >= this.#game.plies.length) this.#play(false);
        else this.#go(this.#at + 1);
      }, PLAY_MS);
    }
    mark(byId("board-play"), "aria-pressed", this.#timer !== null);
    say(byId("board-play"), this.#timer === null ? "Play" : "Pause");
  }

  #turn() {
    this.#turned = !this.#turned;
    soon(this.draw);
  }

  #setLatest(on) {
    this.#latest = on;
    mark(byId("board-latest"), "aria-pressed", on);
    if (on) {
      this.#play(false);
      this.#at = 0;
    }
    soon(this.draw);
  }

  #key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return false;
    if (event.target.closest?.("input, select, textarea, dialog")) return false;
    const keys = { ArrowLeft: () => this.#go(this.#at - 1), ArrowRight: () => this.#go(this.#at + 1), ArrowUp: () => this.#go(this.#at - 1),
      ArrowDown: () => this.#go(this.#at + 1), Home: () => this.#go(0), End: () => this.#go(Infinity), f: () => this.#turn() };
    if (event.key === " " && !event.target.closest?.("button")) keys[" "] = () => this.#play(this.#timer === null);
    if (!keys[event.key]) return false;
    keys[event.key]();
    event.preventDefault();
    return true;
  }

  // Position ------------------------------------------------------------------------------------------

  get #position() {
    return this.#game.plies[this.#at] ?? this.#game.final;
  }

  #drawPosition() {
    const { fen, score, expected_white: expected } = this.#position;
    const before = this.#game.plies[this.#at - 1];
    const touched = before ? [before.uci.slice(0, 2), before.uci.slice(2, 4)] : [];
    pieces(fen).forEach((piece, index) => {
      const square = this.#squares[this.#turned ? 63 - index : index];
      mark(square, "data-touched", touched.includes(name(index)) ? "yes" : null);
      mark(square, "data-file", index >> 3 === (this.#turned ? 0 : 7) ? name(index)[0] : null);
      mark(square, "data-rank", index % 8 === (this.#turned ? 7 : 0) ? name(index)[1] : null);
      if ((square.dataset.piece ?? "") !== piece) {
        mark(square, "data-piece", piece || null);
        square.style.backgroundImage = piece ? `url("/pieces/${piece === piece.toUpperCase() ? "w" : "b"}${piece.toUpperCase()}.svg")` : "";
      }
    });
    mark(byId("board-squares"), "aria-label", `Position: ${spoken(fen)}`);
    const bar = byId("board-bar");
    mark(bar, "aria-valuenow", Math.round(expected * 100));
    mark(bar, "aria-valuetext", `${score}, White's expected score ${percent(expected)}`);
    mark(bar, "data-turned", this.#turned ? "yes" : null);
    byId("board-bar-white").style.height = `${expected * 100}%`;
    say(byId("board-bar-text"), minus(score));
    const moved = before ? `after ${number(before)}${before.san}` : "before the first move";
    say(byId("board-position"), `Position ${count(this.#at)} of ${count(this.#game.plies.length)}, ${moved}. Stockfish ${minus(score)}, White expects ${decimal(expected, 2)}.`);
  }

  // The agent's moves ----------------------------------------------------------------------------------

  /** Forget the judgements once an agent has other weights; those it publishes come to the disk a little later. */
  #judgeAnew() {
    const versions = (this.#store.status?.agents ?? []).map((agent) => `${agent.name} ${agent.version}`).join("\n");
    if (versions === this.#versions && !this.#behind) return;
    this.#versions = versions;
    this.#behind = false;
    this.#judgements.clear();
    this.#asked = "";
    if (this.#game) soon(this.draw);
  }

  /** Whether a judgement was made by the newest weights that are known of. */
  #isNew(found) {
    const newest = new Map((this.#store.status?.agents ?? []).map((agent) => [agent.name, agent.version]));
    return found.agents.every((judged) => judged.version >= (newest.get(judged.agent) ?? 0));
  }

  #askJudge() {
    const { fen } = this.#position;
    if (this.#judgements.has(fen)) {
      this.#drawJudged(this.#judgements.get(fen));
      return;
    }
    if (this.#asked === fen) return;
    this.#asked = fen;
    const box = byId("board-judged");
    if (box.dataset.fen !== fen) {
      this.#arrows.replaceChildren();
      box.classList.add("waiting");
    }
    if (!box.firstElementChild) box.append(h("p", { class: "muted" }, "Asking the agent …"));
    clearTimeout(this.#judging);
    this.#judging = setTimeout(async () => {
      const found = await got(`/api/judge?fen=${encodeURIComponent(fen)}`).catch((error) => ({ reason: error.message }));
      const fresh = !found.reason && this.#isNew(found);
      if (fresh) this.#judgements.set(fen, found);
      if (this.#game && this.#position.fen === fen) this.#behind = !found.reason && !fresh;
      if (this.#judgements.size > 500) this.#judgements.delete(this.#judgements.keys().next().value);
      if (this.#game && this.#position.fen === fen) this.#drawJudged(found);
      if (found.reason) this.#asked = "";
    }, JUDGE_MS);
  }

  #drawJudged(found) {
    const box = byId("board-judged");
    box.classList.remove("waiting");
    box.dataset.fen = this.#position.fen;
    if (found.reason) {
      box.replaceChildren(h("p", { class: "muted" }, `The agent's moves: ${found.reason}`));
      this.#arrows.replaceChildren();
      return;
    }
    const played = this.#game.plies[this.#at]?.uci;
    const without = found.without.map((agent) => h("p", { class: "muted" }, `${agent}, too, plays ${found.side}, and has no weights that can be read yet.`));
    box.replaceChildren(...found.agents.map((judged) => this.#judgedTable(judged, found.side, played)), ...without);
    const [{ moves }] = found.agents;
    this.#arrows.replaceChildren(...moves.slice(0, MOST_ARROWS).flatMap((move, index) => this.#arrow(move, index)).reverse());
  }

  #judgedTable({ agent, version, value, moves }, side, played) {
    const rows = moves.map((move, index) => h("tr", { "data-played": move.uci === played ? "yes" : null },
      h("th", { scope: "row" }, `${index + 1}. ${move.san}${move.uci === played ? " (played)" : ""}`),
      h("td", { class: "number" }, percent(move.policy, 1)), h("td", { class: "number" }, percent(move.prior, 1)),
      h("td", { class: "number" }, signed(move.q))));
    return h("table", {}, h("caption", {}, `What ${agent} would play for ${side}; it expects ${decimal(value, 2)}. Version ${count(version)}`),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "move"), ...["π", "μ", "Q"].map((text, index) =>
        h("th", { scope: "col", class: "number", title: ["policy", "prior: people's moves", "expected score gained"][index] }, text)))),
      h("tbody", {}, ...rows));
  }

  #arrow({ uci, policy }, index) {
    const [from, to] = [this.#centre(uci.slice(0, 2)), this.#centre(uci.slice(2, 4))];
    const angle = Math.atan2(to[1] - from[1], to[0] - from[0]);
    const at = (point, along, across) => [point[0] + along * Math.cos(angle) - across * Math.sin(angle), point[1] + along * Math.sin(angle) + across * Math.cos(angle)].join(" ");
    const width = 0.05 + 0.09 * policy;
    const shape = [at(from, 0.2, width), at(to, -0.34, width), at(to, -0.34, width + 0.1), at(to, -0.06, 0), at(to, -0.34, -width - 0.1), at(to, -0.34, -width), at(from, 0.2, -width)];
    const label = index === 0 ? [] : [svg("text", { x: (from[0] + to[0]) / 2, y: (from[1] + to[1]) / 2 + 0.1 }, String(index + 1))];
    return [svg("g", { class: `arrow arrow-${index}` }, svg("path", { d: `M${shape.join("L")}Z` }), ...label)];
  }

  #centre(square) {
    const [file, rank] = [FILES.indexOf(square[0]), 8 - Number(square[1])];
    return this.#turned ? [7.5 - file, 7.5 - rank] : [file + 0.5, rank + 0.5];
  }

  // Plies and their transitions ------------------------------------------------------------------------

  #makePlies() {
    const heads = ["Ply", "Move", "Stockfish", "Agent", "w", "Reward", "Next ply"];
    byId("board-plies").append(h("table", {}, h("caption", {}, "Plies and the transition made of each"),
      h("thead", {}, h("tr", {}, ...heads.map((text, index) => h("th", { scope: "col", class: index > 3 || index === 2 ? "number" : "" }, text)))),
      h("tbody")));
  }

  #drawPlies() {
    const body = byId("board-plies").querySelector("tbody");
    keyed(body, this.#game.plies, (ply) => ply.ply, (ply) => h("tr", {}, h("td", { class: "number" }, count(ply.ply)),
      h("td", {}, h("button", { type: "button", class: "move", tabindex: "-1", onclick: () => this.#go(ply.ply + 1) })),
      ...["number", "", "number", "number", "number"].map((kind) => h("td", { class: kind }))), (row, ply) => this.#ply(row, ply));
    const current = body.children[this.#at - 1];
    const box = byId("board-plies");
    if (current && this.#shown !== `${this.#at} ${this.#game.time}`) {
      this.#shown = `${this.#at} ${this.#game.time}`;
      box.scrollTop = current.offsetTop - box.clientHeight / 2;
    }
  }

  #shown = "";

  #ply(row, ply) {
    mark(row, "aria-current", ply.ply === this.#at - 1 ? "step" : null);
    if (row.dataset.game === this.#game.time) return;
    row.dataset.game = this.#game.time;
    const made = ply.transition;
    const next = !made ? "" : made.terminated ? "end, terminal" : made.truncated ? "end, truncated" : count(made.next_ply);
    const texts = [minus(ply.score), made?.agent ?? "none", made ? decimal(made.w, 3) : "", made ? signed(made.reward) : "", next];
    say(row.children[1].firstElementChild, `${number(ply)}${ply.san}`);
    texts.forEach((text, index) => say(row.children[index + 2], text));
    mark(row, "title", made ? `action ${count(made.action)} (${ply.uci})` : null);
  }
}

const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${decimal(Math.abs(value), 3)}`;
const minus = (score) => score.replace("-", "−");
const file = (source) => source.split("/").at(-1);
const name = (index) => `${FILES[index % 8]}${8 - (index >> 3)}`;

/** `12. ` or `12… `: the move number of a ply, from its FEN. */
function number({ fen }) {
  const words = fen.split(" ");
  return `${words[5]}${words[1] === "w" ? "." : "…"} `;
}

/** The pieces of a FEN by square, a8 first: letters, empty for none. */
export function pieces(fen) {
  return [...fen.split(" ")[0].replaceAll("/", "").replaceAll(/\d/g, (digit) => " ".repeat(Number(digit)))].map((letter) => letter.trim());
}

function spoken(fen) {
  const sides = { white: [], black: [] };
  pieces(fen).forEach((piece, index) => {
    if (piece) sides[piece === piece.toUpperCase() ? "white" : "black"].push(`${NAMES[piece.toLowerCase()]} ${name(index)}`);
  });
  return `White: ${sides.white.join(", ")}. Black: ${sides.black.join(", ")}. ${fen.split(" ")[1] === "w" ? "White" : "Black"} to move.`;
}
