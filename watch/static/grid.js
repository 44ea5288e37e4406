// A table of any length of which only the rows in sight are elements: a focusable grid with one row at hand.
// Rows are of one height, set by --row on the box. Knows nothing of what it shows.

import { h, mark, soon } from "./dom.js";

const SPARE = 8; // rows beyond each edge

/** `options`: label, columns [{key, title, class, make?(cell), fill(cell, item)}], row(element, item), act(event, item), open(item). */
export class Grid {
  items = [];
  at = 0; // the row at hand
  #options;
  #rows = [];
  #version = 0; // rises when rows must be filled anew though they are of the same place
  #drawn = "";
  #height = 24;

  constructor(box, options) {
    this.#options = options;
    this.box = box;
    const heads = options.columns.map((column) => h("div", { role: "columnheader", class: column.class ?? "", "data-column": column.key },
      ...(options.sort ? [h("button", { type: "button", tabindex: "-1", onclick: () => options.sort(column.key) }, column.title)] : [column.title])));
    this.head = h("div", { class: "grid-row grid-head", role: "row", "aria-rowindex": "1" }, ...heads);
    this.body = h("div", { class: "grid-body", role: "rowgroup" });
    this.element = h("div", { class: "grid", role: "grid", tabindex: "0", "aria-label": options.label,
      "aria-multiselectable": options.selects ? "true" : null }, h("div", { role: "rowgroup", class: "grid-heads" }, this.head), this.body);
    box.append(this.element);
    this.element.addEventListener("scroll", () => soon(this.draw), { passive: true });
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.body.addEventListener("click", (event) => this.#click(event));
    this.body.addEventListener("dblclick", (event) => this.#double(event));
    new ResizeObserver(() => soon(this.#measure)).observe(this.element);
  }

  /** Rows that fit the box. */
  get page() {
    return Math.max(1, Math.floor((this.element.clientHeight - this.head.offsetHeight) / this.#height));
  }

  get height() {
    return this.#height;
  }

  /** Whether the last row is in sight. */
  get atEnd() {
    return this.element.scrollTop + this.element.clientHeight >= this.element.scrollHeight - this.#height * 1.5;
  }

  /** Show these items; draws at the next frame. `grown`: those that were there before are as they were. */
  show(items, grown = false) {
    this.items = items;
    if (!grown) this.#version += 1;
    if (this.at >= items.length) this.at = Math.max(0, items.length - 1);
    soon(this.draw);
  }

  /** Scroll to the end at the next frame. */
  toEnd() {
    soon(this.#end);
  }

  /** Make a row the one at hand, and bring it into sight. */
  go(index, centre = false) {
    this.at = Math.max(0, Math.min(this.items.length - 1, index));
    this.#size();
    const top = this.at * this.#height;
    const room = this.element.clientHeight - this.head.offsetHeight;
    const { scrollTop } = this.element;
    if (centre) this.element.scrollTop = top - room / 2;
    else if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this.#height > scrollTop + room) this.element.scrollTop = top + this.#height - room;
    this.#version += 1;
    soon(this.draw);
  }

  /** Move what is in sight by rows that came or went before it. */
  shift(rows) {
    this.at = Math.max(0, this.at + rows);
    this.#size();
    this.element.scrollTop += rows * this.#height;
  }

  #end = () => {
    this.#size();
    this.element.scrollTop = this.element.scrollHeight;
    this.draw();
  };

  #measure = () => {
    const height = parseFloat(getComputedStyle(this.element).getPropertyValue("--row"));
    if (height !== this.#height) {
      this.#height = height;
      this.#version += 1;
    }
    this.draw();
  };

  #size() {
    const height = `${this.items.length * this.#height}px`;
    if (this.body.style.height === height) return;
    this.body.style.height = height;
    if (this.#options.fits) this.element.style.setProperty("--content", `${this.items.length * this.#height + this.head.offsetHeight + 18}px`);
  }

  draw = () => {
    if (!this.element.clientHeight) return;
    this.#size();
    const first = Math.max(0, Math.floor(this.element.scrollTop / this.#height) - SPARE);
    const last = Math.min(this.items.length, first + Math.ceil(this.element.clientHeight / this.#height) + 2 * SPARE);
    const drawn = `${first} ${last} ${this.#version}`;
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    mark(this.element, "aria-rowcount", this.items.length + 1);
    this.#grow(last - first);
    this.#rows.forEach((row, index) => {
      const place = first + ((index - first) % this.#rows.length + this.#rows.length) % this.#rows.length;
      this.#place(row, place, place < last);
    });
  };

  #grow(number) {
    while (this.#rows.length < number) {
      const cells = this.#options.columns.map((column) => {
        const cell = h("div", { role: "gridcell", class: column.class ?? "", "data-column": column.key, "data-title": column.title });
        column.make?.(cell);
        return cell;
      });
      const row = h("div", { class: "grid-row", role: "row" }, ...cells);
      this.#rows.push({ element: row, cells, filled: "" });
      this.body.append(row);
    }
  }

  #place(row, index, used) {
    const filled = used ? `${index} ${this.#version}` : "none";
    if (row.filled === filled) return;
    row.filled = filled;
    const { element, cells } = row;
    mark(element, "hidden", !used);
    if (!used) return;
    const item = this.items[index];
    const top = `translateY(${index * this.#height}px)`;
    if (element.style.transform !== top) element.style.transform = top;
    element.dataset.index = index;
    mark(element, "aria-rowindex", index + 2);
    mark(element, "data-at", index === this.at ? "yes" : null);
    const id = index === this.at ? `${this.box.id}-at` : null;
    mark(element, "id", id);
    if (id) mark(this.element, "aria-activedescendant", id);
    this.#options.columns.forEach((column, order) => column.fill(cells[order], item));
    this.#options.row?.(element, item);
  }

  #key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey || !this.items.length) return;
    const moves = { ArrowUp: -1, ArrowDown: 1, PageUp: -this.page, PageDown: this.page, Home: -this.items.length, End: this.items.length };
    if (event.key in moves) this.go(this.at + moves[event.key]);
    else if (event.key === "Enter") this.#options.open?.(this.items[this.at]);
    else if (event.key === " " && this.#options.selects) this.#options.selects(this.items[this.at], event.shiftKey);
    else return;
    this.#options.moved?.(event.key);
    event.preventDefault();
  }

  #click(event) {
    const row = event.target.closest(".grid-row");
    if (!row) return;
    this.at = Number(row.dataset.index);
    this.#version += 1;
    this.draw();
    const item = this.items[this.at];
    if (item) this.#options.click?.(event, item);
  }

  #double(event) {
    const row = event.target.closest(".grid-row");
    if (row && !event.target.closest("button, input")) this.#options.open?.(this.items[Number(row.dataset.index)]);
  }

  /** Draw the rows in sight anew: what they show has changed, or what is selected. */
  again() {
    this.#version += 1;
    soon(this.draw);
  }
}
