// The rates of the last minutes, for the small lines behind the figures. Pure.

const LENGTH = 180; // one a second

/** Values of one figure, the newest last; null where there was none. */
export class History {
  values = new Map();

  /** Add one moment's figures, by name. */
  add(figures) {
    for (const [name, value] of Object.entries(figures)) {
      if (value !== null && typeof value !== "number") continue;
      const kept = this.values.get(name) ?? [];
      kept.push(value);
      if (kept.length > LENGTH) kept.shift();
      this.values.set(name, kept);
    }
  }

  /** A line for an SVG path of `width` by `height`; empty with fewer than two values. */
  path(name, width, height) {
    return line(this.values.get(name) ?? [], width, height, 0);
  }
}

/** Numbers as an SVG path; `floor` is the value at the bottom, or null for the least one. */
export function line(values, width, height, floor = null) {
  const known = values.filter((value) => value !== null);
  if (known.length < 2) return "";
  const low = floor ?? Math.min(...known);
  const range = Math.max(...known) - low || 1;
  const step = width / (values.length - 1);
  let path = "";
  let pen = "M";
  values.forEach((value, index) => {
    if (value === null) return;
    path += `${pen}${(index * step).toFixed(1)} ${(height - 1 - ((value - low) / range) * (height - 2)).toFixed(1)}`;
    pen = "L";
  });
  return path;
}
