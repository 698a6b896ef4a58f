// The list of conversations: open, rename, delete.

import { announce, fromTemplate, say } from "./dom.js";
import * as conversations from "./conversations.js";

const dialog = document.getElementById("list");
const items = dialog.querySelector("ol");
const when = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

/** What the page does: `current()` is the id of the conversation it shows; `renamed(id, title)`, `removed(id)`. */
let page;

export const addressOf = (id) => `#/c/${id}`;

/** Have a button open the list. */
export function listAt(button, callbacks) {
  page = callbacks;
  button.addEventListener("click", async () => {
    await draw();
    dialog.showModal();
  });
}

async function draw() {
  const [known, isKept] = await Promise.all([conversations.list(), conversations.isKept()]);
  items.replaceChildren(...known.map(itemOf));
  dialog.querySelector(".none").hidden = known.length > 0;
  dialog.querySelector(".kept").hidden = !isKept;
  dialog.querySelector(".unkept").hidden = isKept;
}

function itemOf(conversation) {
  const { id, title, changed } = conversation;
  const item = fromTemplate("kept");
  const link = item.querySelector("a");
  link.textContent = title;
  link.href = addressOf(id);
  if (id === page.current()) link.setAttribute("aria-current", "page");
  link.addEventListener("click", () => dialog.close());
  item.querySelector("time").textContent = when.format(changed);
  item.querySelector("time").dateTime = new Date(changed).toISOString();
  onClick(item, ".rename", () => rename(item, conversation));
  onClick(item, ".delete", () => remove(item, conversation));
  return item;
}

function rename(item, { id, title }) {
  const form = inPlaceOf(item, "renaming", async () => {
    const wanted = input.value.trim() || title;
    await conversations.rename(id, wanted);
    page.renamed(id, wanted);
    announce("Renamed.");
  });
  const input = form.querySelector("input");
  input.value = title;
  input.select();
}

function remove(item, { id, title }) {
  const form = inPlaceOf(item, "deleting", async () => {
    page.removed(id); // first, so that an answer in the making is not kept again
    await conversations.remove(id);
    announce("Deleted.");
  });
  form.querySelector("p").textContent = `Delete “${title}”?`;
  form.querySelector(".cancel").focus();
}

/** Show a form in place of an item. When it is submitted, the work is done and the list drawn anew. */
function inPlaceOf(item, template, work) {
  const form = fromTemplate(template);
  const place = document.createElement("li");
  place.append(form);
  item.replaceWith(place);
  const cancel = () => {
    place.replaceWith(item);
    item.querySelector("a").focus();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    change(work);
  });
  onClick(form, ".cancel", cancel);
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault(); // or else it closes the list
    cancel();
  });
  return form;
}

async function change(work) {
  try {
    await work();
    say("list-problem", "");
  } catch {
    say("list-problem", "This browser could not write that down. Has it room left?");
  }
  await draw();
  (items.querySelector("a") ?? dialog.querySelector(".close")).focus();
}

function onClick(element, selector, work) {
  element.querySelector(selector).addEventListener("click", work);
}

onClick(dialog, ".close", () => dialog.close());
dialog.addEventListener("click", ({ target }) => {
  if (target === dialog) dialog.close(); // beside it
});
