// Orders to actors: asked about first, then sent with the token that proves that it was this page.

import { byId, h, toast } from "./dom.js";
import { things } from "./format.js";

const MOST_NAMES = 12;
const ACTIONS = {
  pause: ["Pause", "finish the units in hand, take no more and stay connected"],
  resume: ["Resume", "take units again"],
  drain: ["Drain", "finish the units in hand and exit; they do not come back by themselves"],
  reset: ["Reset", "give the units in hand back and start the engine anew; work on those units is lost"],
};

/** Ask, then give the order to the actors named; `all` when it is to every actor, those unseen included. */
export async function order(store, action, names, all = false) {
  if (!names.length) {
    toast("No actor is selected.");
    return;
  }
  if (await confirmed(action, names, all)) await send(store, action, all ? [] : names);
}

function confirmed(action, names, all) {
  const dialog = byId("confirm");
  const [verb, meaning] = ACTIONS[action];
  const whom = all ? `all ${things(names.length, "actor")}` : names.length === 1 ? names[0] : things(names.length, "actor");
  byId("confirm-title").textContent = `${verb} ${whom}?`;
  byId("confirm-text").textContent = `${names.length === 1 ? "It will" : "They will"} ${meaning}.`;
  const shown = names.length > 1 ? names.slice(0, MOST_NAMES).map((name) => h("li", {}, name)) : [];
  if (names.length > MOST_NAMES) shown.push(h("li", {}, `and ${things(names.length - MOST_NAMES, "other")}`));
  byId("confirm-names").replaceChildren(...shown);
  byId("confirm-yes").textContent = `${verb} ${whom}`;
  dialog.returnValue = "no";
  dialog.showModal();
  byId("confirm-no").focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

async function send(store, action, names) {
  try {
    const reply = await fetch("/api/order", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Rookery-Token": store.token },
      body: JSON.stringify({ action, names }),
    });
    const text = await reply.text();
    if (!reply.ok) throw new Error(text.trim().slice(0, 300) || `the server answered ${reply.status}`);
    said(action, JSON.parse(text));
  } catch (error) {
    toast(`The order was not given: ${error.message}`, true);
  }
}

function said(action, { names = [], unknown = [] }) {
  const verb = ACTIONS[action][0];
  if (unknown.length) toast(`${verb}: sent to ${things(names.length, "actor")}; not known: ${unknown.join(", ")}`, true);
  else toast(`${verb}: sent to ${names.length === 1 ? names[0] : things(names.length, "actor")}.`);
}
