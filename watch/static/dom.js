// Making and changing elements. Text is always set as text, never as HTML; styles through the CSSOM only.

const SVG = "http://www.w3.org/2000/svg";

/** The element with this id; fails at once where the page has none. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element #${id}`);
  return found;
}

/** Make an HTML element: attributes (`class`, `data-…`, `aria-…`, `onclick`, …), then children or text. */
export const h = (name, attributes = {}, ...children) => filled(document.createElement(name), attributes, children);

/** Make an SVG element alike. */
export const svg = (name, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, name), attributes, children);

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set an element's text, only where it changes: what stays costs no layout. */
export function say(element, text) {
  const next = String(text);
  if (element.textContent !== next) element.textContent = next;
}

/** Set or remove an attribute, only where it changes. */
export function mark(element, name, value) {
  if (value === null || value === undefined || (value === false && !name.startsWith("aria-"))) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Make `element` show exactly the items: keeps the child of each key, makes what is new, removes what is gone. */
export function keyed(element, items, key, make, update) {
  const kept = new Map([...element.children].map((child) => [child.dataset.key, child]));
  let place = element.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = kept.get(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    kept.delete(name);
    if (child === place) place = place.nextElementSibling;
    else element.insertBefore(child, place);
    update(child, item);
  }
  for (const child of kept.values()) child.remove();
}

const waiting = new Set();
let asked = false;

/** Run `draw` at the next frame, once however often it is asked for. Nothing is drawn while the page is hidden. */
export function soon(draw) {
  waiting.add(draw);
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    const now = [...waiting];
    waiting.clear();
    for (const one of now) one();
  });
}

/** The value of a CSS custom property, for what is drawn on a canvas. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Say something in passing, for eyes and screen readers. */
export function toast(text, bad = false) {
  const box = byId("toast");
  box.replaceChildren(h("p", { class: bad ? "bad" : "" }, text));
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => box.replaceChildren(), bad ? 12000 : 5000);
}
