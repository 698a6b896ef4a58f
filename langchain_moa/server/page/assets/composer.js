// Where a question is written: its text, its images, and whether it takes the place of an earlier one.

import { announce, say } from "./dom.js";
import { ACCEPTED, problemOf, thumbnail } from "./images.js";

const get = (id) => document.getElementById(id);
const [form, field, list, files] = ["composer", "question", "images", "files"].map(get);

/** The question in the making. */
let images = [];
let replaced; // the turn whose place it takes
let draft; // what was there before that turn's question

/** Begin. `ask` is called with `{question, images, replaced}`, and returns whether it takes the question now. */
export function compose(ask) {
  files.accept = ACCEPTED;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const question = field.value.trim();
    if (!question && !images.length) return;
    if (ask({ question, images, replaced })) fill(draft);
  });
}

export const focusQuestion = () => field.focus();

/** Put a question there, or nothing. With `replaced`, what was there before comes back when that has been edited. */
export function fill({ question = "", images: given = [], replaced: turn } = {}) {
  draft = turn && (draft ?? { question: field.value, images });
  replaced?.element.classList.remove("edited");
  replaced = turn;
  replaced?.element.classList.add("edited");
  get("editing").hidden = !turn;
  field.value = question;
  images = [...given];
  say("image-problem", "");
  drawImages();
  fit();
}

/** Edit the question of a turn. */
export function edit(turn) {
  fill({ ...turn.record, replaced: turn });
  field.focus();
}

/** Leave the turn as it is; returns whether one was being edited. */
export function stopEditing() {
  if (!replaced) return false;
  fill(draft);
  field.focus();
  return true;
}

// -- Images ----------------------------------------------------------------------------------------------------------

async function attach(candidates) {
  const problems = [];
  for (const file of candidates) {
    const problem = await problemOf(file);
    if (problem) problems.push(problem);
    else images = [...images, file];
  }
  say("image-problem", problems.join("\n"));
  drawImages();
  if (images.length) announce(`${images.length === 1 ? "1 image" : `${images.length} images`} to send.`);
}

function drawImages() {
  list.hidden = !images.length;
  list.replaceChildren(...images.map(chip));
}

function chip(file) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "quiet", textContent: "✕", title: "Remove" });
  button.setAttribute("aria-label", `Remove ${file.name}`);
  button.addEventListener("click", () => {
    images = images.filter((other) => other !== file);
    drawImages();
    field.focus();
  });
  item.append(thumbnail(file), button);
  return item;
}

get("attach").addEventListener("click", () => files.click());
files.addEventListener("change", () => {
  attach([...files.files]);
  files.value = ""; // so that the same file can be chosen again
  field.focus();
});

field.addEventListener("paste", (event) => {
  const pasted = [...event.clipboardData.files];
  // A spreadsheet's cells come as a text, and as an image too.
  if (!pasted.length || event.clipboardData.getData("text/plain")) return;
  event.preventDefault();
  attach(pasted);
});

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault(); // or else the browser opens the file in the page's place
  form.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) form.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  form.classList.remove("dropping");
  attach([...event.dataTransfer.files]);
  field.focus();
});

// -- The text --------------------------------------------------------------------------------------------------------

/** As tall as its text, up to what the style allows. */
function fit() {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

field.addEventListener("input", fit);
field.addEventListener("keydown", (event) => {
  // Enter also ends the choice of a word in Chinese, Japanese or Korean.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});
get("editing").querySelector("button").addEventListener("click", stopEditing);
