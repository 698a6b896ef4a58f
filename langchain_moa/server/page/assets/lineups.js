// The line-ups to choose from, and the mixture that would be asked.

import { request } from "./api.js";
import { scrollsByKeys } from "./dom.js";
import { Graph } from "./graph.js";

const DEFAULT = "moa-1";
const select = document.getElementById("lineup");
const welcome = document.getElementById("welcome");

export const chosenLineup = () => select.value || DEFAULT;

/** Choose a line-up, if it is still served. */
export function chooseLineup(name) {
  if ([...select.options].some(({ value }) => value === name)) select.value = name;
}

/** Ask the server for its line-ups, unless they are there already. */
export async function loadLineups() {
  if (select.length) return;
  try {
    const { data } = await (await request("v1/models")).json();
    const names = data.map(({ id }) => id);
    const label = (name) => (name === DEFAULT ? `${name} (default)` : name);
    select.replaceChildren(...names.map((name) => new Option(label(name), name, false, name === DEFAULT)));
    await drawLineup();
  } catch (error) {
    showProblem(error.message);
  }
}

/** Draw the mixture that would be asked, or say why it can't be; not while a conversation is there instead. */
export async function drawLineup() {
  if (welcome.hidden || !select.length) return;
  const chosen = select.value;
  const figure = welcome.querySelector(".graph");
  try {
    const response = await request(`inside?${new URLSearchParams({ model: chosen })}`);
    const { layers } = await response.json();
    if (select.value !== chosen) return;
    figure.replaceChildren(new Graph(layers).element);
    showProblem("");
  } catch (error) {
    if (select.value !== chosen) return;
    figure.replaceChildren();
    showProblem(error.message);
  }
}

function showProblem(text) {
  const problem = welcome.querySelector(".problem");
  problem.textContent = text;
  problem.hidden = !text;
}

select.addEventListener("change", drawLineup);
scrollsByKeys(welcome.querySelector(".graph"));
