// The spans of the last minutes by service, in lanes in which none overlaps another. Pure.

const KEPT_MS = 620000;
const MOST_LANES = 6;
const SLACK = 256; // old spans in a lane before they are dropped

export class Spans {
  services = new Map(); // name → lanes; a lane is a list of spans by time
  size = 0;

  clear() {
    this.services.clear();
    this.size = 0;
  }

  /** Add spans as the server tells them; gives each `begin` and `end`, in milliseconds since 1970. */
  add(spans, now) {
    for (const span of spans) {
      span.begin = span.begin_ns / 1e6;
      span.end = span.begin + span.seconds * 1000;
      this.#lay(span, now);
    }
  }

  /** They come as they end: one that began before the last of a lane ended goes into another lane. */
  #lay(span, now) {
    if (!this.services.has(span.service)) this.services.set(span.service, []);
    const lanes = this.services.get(span.service);
    let lane = lanes.find((found) => found.at(-1).end <= span.begin + 0.05);
    if (!lane && lanes.length < MOST_LANES) lanes.push(lane = []);
    lane ??= lanes.at(-1);
    lane.push(span);
    this.size += 1;
    if (lane.length > SLACK && lane[SLACK - 1].end < now - KEPT_MS) {
      lane.splice(0, SLACK);
      this.size -= SLACK;
    }
  }
}

/** Index of the first span of a lane that ends after `time`. */
export function firstAfter(lane, time) {
  let [low, high] = [0, lane.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lane[middle].end < time) low = middle + 1;
    else high = middle;
  }
  return low;
}
