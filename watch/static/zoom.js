// The part of the x axis that all curves show: everything, or what one has zoomed to. Pure; tells its listeners.

const LEAST = 1e-4; // of the whole: no deeper

export class Zoom {
  full = [0, 1];
  view = null; // null: everything, also what is still to come
  #listeners = [];

  get range() {
    return this.view ?? this.full;
  }

  listen(listener) {
    this.#listeners.push(listener);
  }

  /** Take the extent of the data; what is shown stays unless it is everything. */
  extend(least, most) {
    this.full = most > least ? [least, most] : [least - 0.5, least + 0.5];
  }

  /** Show from `least` to `most`, within the data. */
  show(least, most) {
    const [first, last] = this.full;
    const width = Math.min(Math.max(most - least, (last - first) * LEAST), last - first);
    if (!(width > 0)) return;
    const begin = Math.min(Math.max(least, first), last - width);
    this.view = width >= (last - first) * 0.9999 ? null : [begin, begin + width];
    this.#tell();
  }

  /** Move by a share of what is shown: positive to later ones. */
  pan(share) {
    const [least, most] = this.range;
    const by = (most - least) * share;
    this.show(least + by, most + by);
  }

  /** Show `factor` times as much, `centre` staying where it is. */
  scale(factor, centre = null) {
    const [least, most] = this.range;
    const about = centre ?? (least + most) / 2;
    this.show(about - (about - least) * factor, about + (most - about) * factor);
  }

  /** Show a moment: in the middle, where it is out of sight. */
  reveal(value) {
    const [least, most] = this.range;
    if (value < least || value > most) this.show(value - (most - least) / 2, value + (most - least) / 2);
  }

  reset() {
    this.view = null;
    this.#tell();
  }

  #tell() {
    for (const listener of this.#listeners) listener();
  }
}

/** The usual keys: arrows pan, + and − zoom, 0 shows everything. Returns whether the key was one of them. */
export function zoomKey(zoom, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  const moves = {
    ArrowLeft: () => zoom.pan(-0.1), ArrowRight: () => zoom.pan(0.1),
    "+": () => zoom.scale(0.7), "=": () => zoom.scale(0.7), "-": () => zoom.scale(1 / 0.7), 0: () => zoom.reset(),
  };
  const move = moves[event.key];
  if (!move) return false;
  move();
  event.preventDefault();
  return true;
}
