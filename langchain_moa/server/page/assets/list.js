// The list of conversations: open, rename, delete.

import { announce, fromTemplate } from "./dom.js";
import * as conversations from "./conversations.js";

const dialog = document.getElementById("list");
const items = dialog.querySelector("ol");
const when = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

export const addressOf = (id) => `#/c/${id}`;

/** Have the list open at a button. `current()`: the id of the conversation that is shown. `renamed`, `removed`: told. */
export function listAt(button, { current, renamed, removed }) {
  const change = async (item, work, text) => {
    try {
      await work();
      announce(text);
    } catch {
      announce("This browser could not do that.");
    }
    await draw();
    (items.querySelector("a") ?? dialog.querySelector(".close")).focus();
  };

  async function draw() {
    const known = await conversations.list();
    items.replaceChildren(...known.map(drawOne));
    dialog.querySelector(".none").hidden = known.length > 0;
    dialog.querySelector(".unkept").hidden = await conversations.isKept();
  }

  function drawOne({ id, title, changed }) {
    const item = fromTemplate("kept");
    const link = item.querySelector("a");
    link.textContent = title;
    link.href = addressOf(id);
    if (id === current()) link.setAttribute("aria-current", "page");
    link.addEventListener("click", () => dialog.close());
    item.querySelector("time").textContent = when.format(changed);
    item.querySelector("time").dateTime = new Date(changed).toISOString();
    on(item, ".rename", () => putInPlace(item, "renaming", (form) => {
      const input = form.querySelector("input");
      input.value = title;
      input.select();
      return () => change(item, async () => {
        const wanted = input.value.trim() || title;
        await conversations.rename(id, wanted);
        renamed(id, wanted);
      }, "Renamed.");
    }));
    on(item, ".delete", () => putInPlace(item, "deleting", (form) => {
      form.querySelector("p").textContent = `Delete “${title}”?`;
      form.querySelector(".cancel").focus();
      return () => change(item, async () => {
        removed(id); // first, so that an answer in the making is not kept again
        await conversations.remove(id);
      }, "Deleted.");
    }));
    return item;
  }

  button.addEventListener("click", async () => {
    await draw();
    dialog.showModal();
  });
}

/** Show a form in place of an item. `fill` returns what to do when it is submitted. */
function putInPlace(item, template, fill) {
  const form = fromTemplate(template);
  const place = document.createElement("li");
  place.append(form);
  item.replaceWith(place);
  const submit = fill(form);
  const cancel = () => {
    place.replaceWith(item);
    item.querySelector("a").focus();
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  on(form, ".cancel", cancel);
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault(); // or else it closes the list
    cancel();
  });
}

function on(element, selector, work) {
  element.querySelector(selector).addEventListener("click", work);
}

on(dialog, ".close", () => dialog.close());
dialog.addEventListener("click", ({ target }) => {
  if (target === dialog) dialog.close(); // beside it
});
