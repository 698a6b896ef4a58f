// The page: line-ups, the conversation, and the keys that drive it.

import { KeyWantedError, request } from "./api.js";
import { announce, scrollToStart } from "./dom.js";
import { Graph } from "./graph.js";
import { run } from "./stream.js";
import { Turn } from "./turn.js";

const get = (id) => document.getElementById(id);
const [conversation, welcome, lineup, question] = ["conversation", "welcome", "lineup", "question"].map(get);
const DEFAULT = "moa-1";

/** Turns with what the next question's models see of them: `{turn, messages}`. */
let turns = [];
let running; // the AbortController of the answer in the making

// -- Line-ups --------------------------------------------------------------------------------------------------------

async function loadLineups() {
  const { data } = await (await request("v1/models")).json();
  const names = data.map(({ id }) => id);
  const label = (name) => (name === DEFAULT ? `${name} (default)` : name);
  lineup.replaceChildren(...names.map((name) => new Option(label(name), name, false, name === DEFAULT)));
  await drawLineup();
}

/** Draw the mixture that would be asked, or say why it can't be. */
async function drawLineup() {
  const chosen = lineup.value;
  const figure = welcome.querySelector(".graph");
  try {
    const response = await request(`inside?${new URLSearchParams({ model: chosen })}`);
    const { layers } = await response.json();
    if (lineup.value !== chosen) return;
    figure.replaceChildren(new Graph(layers).element);
    showProblem("");
  } catch (error) {
    if (lineup.value !== chosen) return;
    figure.replaceChildren();
    showProblem(error.message);
  }
}

function showProblem(text) {
  const problem = welcome.querySelector(".problem");
  problem.textContent = text;
  problem.hidden = !text;
}

// -- The conversation ------------------------------------------------------------------------------------------------

async function ask(text) {
  const messages = [...turns.flatMap((each) => each.messages), { role: "user", content: text }];
  const turn = new Turn(text, lineup.value || DEFAULT);
  const entry = { turn, messages: [] };
  turns.at(-1)?.turn.fold();
  turns.push(entry);
  turn.retryButton.addEventListener("click", () => retry(entry));
  welcome.hidden = true;
  conversation.append(turn.element);
  scrollToStart(turn.element);
  const controller = begin();
  try {
    if (!lineup.length) await loadLineups();
    for await (const event of run(lineup.value, messages, controller.signal)) turn.on(event);
  } catch (error) {
    if (error.name === "AbortError") turn.stop();
    else turn.fail(error.message);
    if (error instanceof KeyWantedError) question.value ||= text;
  } finally {
    // A part of an answer is there to read, so that the next question may be about it.
    if (turn.text) entry.messages = [messages.at(-1), { role: "assistant", content: turn.text }];
    if (running === controller) end();
  }
}

function retry(entry) {
  if (running || entry !== turns.at(-1)) return;
  turns.pop();
  entry.turn.element.remove();
  get("send").focus(); // the button that had the focus is gone
  ask(entry.turn.question);
}

function begin() {
  running = new AbortController();
  swap(get("send"), get("stop"));
  return running;
}

function end() {
  running = undefined;
  swap(get("stop"), get("send"));
}

/** Put one button in the other's place, with the focus if it had that. */
function swap(button, other) {
  const hasFocus = document.activeElement === button;
  button.hidden = true;
  other.hidden = false;
  if (hasFocus) other.focus();
  get("clear").disabled = !turns.length;
}

function clear() {
  running?.abort();
  for (const { turn } of turns) turn.element.remove();
  turns = [];
  end();
  question.focus();
  welcome.hidden = false;
  drawLineup();
  announce("The conversation is cleared.");
}

// -- Keys and buttons ------------------------------------------------------------------------------------------------

/** As tall as its text, up to what the style allows. */
function fit() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
}

get("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (running || !text) return;
  question.value = "";
  fit();
  ask(text);
});

question.addEventListener("input", fit);
question.addEventListener("keydown", (event) => {
  // Enter also ends the choice of a word in Chinese, Japanese or Korean.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  get("composer").requestSubmit();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !get("key").open) running?.abort();
});

get("stop").addEventListener("click", () => running?.abort());
get("clear").addEventListener("click", clear);
lineup.addEventListener("change", () => { if (!turns.length) drawLineup(); });

loadLineups().catch((error) => showProblem(error.message));
