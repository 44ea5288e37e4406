// The connection to the server: the state once, then its events; again from the start whenever it was lost.

const AGAIN_MS = 2000;
const SILENT_MS = 20000; // the server says something each second

export class Stream {
  #store;
  #feed;
  #source = null;
  #heard = 0;
  #timer = null;

  constructor(store, feed) {
    this.#store = store;
    this.#feed = feed;
    setInterval(() => this.#watch(), 1000);
    addEventListener("online", () => this.open());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => event.persisted && this.open());
  }

  /** Connect, or connect anew. */
  async open() {
    this.#close();
    this.#heard = performance.now();
    try {
      this.#store.takeState(await got("/api/state"));
    } catch {
      this.#lost();
      return;
    }
    this.#listen();
    await Promise.allSettled([
      this.#feed.begin(),
      got("/api/spans?seconds=600").then(({ spans }) => {
        this.#store.spans.clear();
        this.#store.takeSpans(spans);
      }),
      got("/api/game").then((game) => this.#store.takeGame(game)),
    ]);
  }

  #listen() {
    const source = new EventSource("/api/stream");
    this.#source = source;
    const on = (name, take) => source.addEventListener(name, (event) => {
      this.#heard = performance.now();
      this.#store.setLink("live");
      take(JSON.parse(event.data));
    });
    on("status", (news) => this.#store.takeStatus(news));
    on("intervals", ({ intervals }) => this.#store.takeIntervals(intervals));
    on("logs", (news) => this.#feed.take(news));
    on("spans", ({ spans }) => this.#store.takeSpans(spans));
    on("game", ({ game }) => this.#store.takeGame(game));
    source.addEventListener("error", () => source === this.#source && this.#lost());
  }

  #lost() {
    this.#close();
    this.#store.setLink("lost");
    this.#timer = setTimeout(() => this.open(), AGAIN_MS);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  /** A connection that says nothing is none: a host that went to sleep, a network that lets nothing through. */
  #watch() {
    if (this.#source && performance.now() - this.#heard > SILENT_MS) this.#lost();
  }
}

/** The JSON at a path; throws where the server is away or refuses. */
export async function got(path) {
  const reply = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(15000) });
  if (!reply.ok) throw new Error((await reply.text()).trim() || `${reply.status}`);
  return reply.json();
}
