// The prompt that the aggregator saw, message by message.

import { copies, scrollsByKeys } from "./dom.js";

/** Fill the foldable element, again when another aggregator took over. `messages`: each with `role` and `text`. */
export function fillPrompt(element, messages) {
  const isFirst = element.hidden;
  element.hidden = false;
  const list = element.querySelector("dl");
  list.replaceChildren(...messages.flatMap(({ role, text }) => [made("dt", role), made("dd", text)]));
  if (!isFirst) return;
  scrollsByKeys(list);
  copies(element.querySelector(".copy"), () => inWords(list));
}

function made(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

/** As one text to copy: each role above what it says. */
function inWords(list) {
  const roles = [...list.querySelectorAll("dt")];
  return roles.map((role) => `${role.textContent}:\n${role.nextSibling.textContent}`).join("\n\n");
}
