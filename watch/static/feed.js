// Log records from the server into the buffer: the newest page, then what the stream brings, and older pages on wish.

import { LIMIT } from "./records.js";
import { got } from "./stream.js";

const PAGE = 1000; // the server's most
const MOST_TURNS = 50;
const MOST_PAGES = 20; // missed records that are still fetched; of more, the buffer begins anew

export class Feed {
  #store;
  #waiting = []; // what the stream brought while a gap is being filled
  #filling = null;
  #loading = false;
  done = false; // whether there is nothing older

  constructor(store) {
    this.#store = store;
  }

  get #records() {
    return this.#store.records;
  }

  /** Whether more of the older records can be had. */
  get hasOlder() {
    return !this.done && this.#records.list.length < LIMIT;
  }

  /** After a connection was made: go on where the buffer ends, or begin anew where the server did. */
  async begin() {
    const last = this.#records.list.at(-1);
    if (last) {
      const { logs } = await got(`/api/logs?before=${last.id + 1}&limit=1`);
      if (!logs.length || `${logs[0].id} ${logs[0].Timestamp}` !== last.key) {
        this.#records.clear();
        this.done = false;
      }
    }
    await this.#fill();
  }

  /** Take what the stream brought. */
  take({ logs }) {
    if (this.#filling) this.#waiting.push(...logs);
    else if (this.#records.list.length && this.#records.add(logs)) this.#store.tell("logs");
    else {
      this.#waiting.push(...logs);
      this.#fill();
    }
  }

  /** Fetch the page before the oldest record; returns how many came. */
  async older() {
    if (this.#loading || !this.hasOlder || !this.#records.list.length) return 0;
    this.#loading = true;
    const { epoch } = this.#records;
    try {
      const { logs, more } = await got(`/api/logs?before=${this.#records.first}&limit=${PAGE}`);
      if (epoch !== this.#records.epoch) return 0; // the buffer began anew meanwhile
      const added = this.#records.addOlder(logs.reverse());
      if (!more) this.done = true;
      this.#store.tell("logs");
      return added;
    } catch {
      setTimeout(() => this.#store.tell("logs"), 2000); // and then again
      return 0;
    } finally {
      this.#loading = false;
    }
  }

  async #fill() {
    this.#filling ??= this.#fetchAll().finally(() => {
      this.#filling = null;
    });
    await this.#filling;
    await this.#fetchTroubles();
  }

  /** What comes while one fetches may leave a gap again. */
  async #fetchAll() {
    for (let turn = 0; turn < MOST_TURNS; turn += 1) if (await this.#fetchMissing()) break;
  }

  async #fetchMissing() {
    let pages = [];
    const end = this.#records.list.length ? this.#records.end : Infinity;
    for (let before = ""; pages.length < (end === Infinity ? 1 : MOST_PAGES);) {
      const { logs, more } = await got(`/api/logs?before=${before}&limit=${PAGE}`);
      pages.push(logs.reverse());
      before = logs[0]?.id ?? 0;
      if (!more || before <= end) break;
    }
    const found = pages.reverse().flat();
    if (!this.#records.add(found)) {
      this.#records.clear(); // too much was missed
      this.done = false;
      this.#records.add(found);
    }
    const late = this.#waiting;
    this.#waiting = [];
    const whole = this.#records.add(late);
    this.#store.tell("logs");
    return whole;
  }

  /** Warnings and errors are wanted also where the records about them are not: for the marks on the curves. */
  async #fetchTroubles() {
    const troubles = await Promise.all(["WARNING", "ERROR"].map((level) => got(`/api/logs?level=${level}&limit=${PAGE}`)));
    this.#records.addTroubles(troubles.flatMap(({ logs }) => logs));
    this.#store.tell("logs");
    this.#store.tell("series"); // the marks on the curves
  }
}
