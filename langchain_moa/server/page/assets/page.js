// The page: which conversation is shown, and the keys and buttons that drive it.

import { compose, edit, fill, focusQuestion, stopEditing } from "./composer.js";
import { Conversation } from "./conversation.js";
import * as conversations from "./conversations.js";
import { announce, say, scrollToStart } from "./dom.js";
import { addressOf, listAt } from "./list.js";
import { chooseLineup, chosenLineup, drawLineup, loadLineups } from "./lineups.js";

const get = (id) => document.getElementById(id);
const [place, welcome, question] = ["conversation", "welcome", "question"].map(get);
const TITLE = document.title;

let current = new Conversation();
/** By id, those that only the page has: they are being answered, while the reader may look at another one, or the
 * browser could not keep them. */
const live = new Map();

// -- Which conversation is shown -------------------------------------------------------------------------------------

const idInAddress = () => /^#\/c\/(\w+)$/.exec(location.hash)?.[1];

/** Show the conversation that the address names. */
async function follow() {
  const id = idInAddress();
  if (id === current.id) return;
  if (!id) return begin();
  const known = live.get(id) ?? await load(id);
  if (idInAddress() !== id) return; // the reader went on meanwhile
  if (known) show(known);
  else begin("This conversation is not in this browser: it was deleted, or is kept in another one.");
}

async function load(id) {
  try {
    const known = await conversations.get(id);
    return known && new Conversation({ ...known, isNew: false });
  } catch {
    return undefined;
  }
}

function begin(notice = "") {
  show(new Conversation());
  say("missing", notice);
  drawLineup();
}

function show(conversation) {
  stopEditing();
  current.element.remove();
  current = conversation;
  place.append(current.element);
  welcome.hidden = current.turns.length > 0;
  say("missing", "");
  const last = current.turns.at(-1);
  if (last) {
    chooseLineup(last.record.lineup);
    scrollToStart(last.element);
  }
  tellState();
  if (!matchMedia("(pointer: coarse)").matches) focusQuestion(); // on a phone its keyboard would cover half of it
}

function tellState() {
  document.title = current.title ? `${current.title} · ${TITLE}` : TITLE;
  get("new").disabled = !current.turns.length;
  swap(...(current.isRunning ? ["send", "stop"] : ["stop", "send"]).map(get));
}

/** Put one button in the other's place, with the focus if it had that. */
function swap(button, other) {
  const hasFocus = document.activeElement === button;
  button.hidden = true;
  other.hidden = false;
  if (hasFocus) other.focus();
}

// -- Asking ----------------------------------------------------------------------------------------------------------

async function ask({ question, images }, number) {
  const conversation = current;
  const onEnd = listen(conversation);
  const asking = conversation.ask({ question, images, lineup: chosenLineup() }, number);
  welcome.hidden = true;
  scrollToStart(conversation.turns.at(-1).element);
  location.hash = addressOf(conversation.id);
  const { wantsKey } = await asking;
  onEnd();
  if (wantsKey && conversation === current && !get("question").value) fill({ question, images });
  else loadLineups();
}

/** Follow a conversation while it is being answered; returns what ends that. */
function listen(conversation) {
  const listening = new AbortController();
  const on = (type, heard) => conversation.addEventListener(type, heard, { signal: listening.signal });
  const told = () => { if (conversation === current) tellState(); };
  let problem = "";
  const tellProblem = ({ detail }) => {
    problem = detail ?? "";
    say("unkept", problem);
  };
  live.set(conversation.id, conversation);
  on("began", told);
  on("kept", tellProblem);
  on("unkept", tellProblem);
  on("ended", () => {
    if (!problem) live.delete(conversation.id);
    told();
  });
  return () => listening.abort();
}

compose(({ question, images, replaced }) => {
  if (current.isRunning) return false;
  ask({ question, images }, replaced?.record.number);
  return true;
});

place.addEventListener("edit", ({ detail }) => edit(detail));
place.addEventListener("retry", ({ detail: turn }) => {
  if (current.isRunning) return;
  stopEditing();
  get("send").focus(); // the button that had the focus goes away
  ask(turn.record, turn.record.number);
});

// -- Keys and buttons ------------------------------------------------------------------------------------------------

/** Go to the latest answer, and from there back to the question. */
function goToAnswer() {
  const target = current.turns.at(-1)?.target;
  if (!target || target.contains(document.activeElement)) return focusQuestion();
  target.focus();
  target.scrollIntoView({ block: "start" });
}

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape" && !stopEditing()) current.stop();
  if (event.key === "F2") {
    event.preventDefault();
    goToAnswer();
  }
});

get("skip").addEventListener("click", goToAnswer);
get("stop").addEventListener("click", () => current.stop());
get("new").addEventListener("click", () => {
  location.hash = "#/";
  focusQuestion(); // now, so that no letter is lost
  announce("A new conversation.");
});

listAt(get("conversations"), {
  current: () => current.id,
  renamed(id, title) {
    for (const known of [current, live.get(id)]) if (known?.id === id) known.title = title;
    tellState();
  },
  removed(id) {
    live.get(id)?.discard();
    live.delete(id);
    if (id === current.id) location.hash = "#/";
  },
});

addEventListener("hashchange", follow);
place.append(current.element);
loadLineups().then(() => {
  const last = current.turns.at(-1);
  if (last) chooseLineup(last.record.lineup);
});
conversations.isKept().then((isKept) => { welcome.querySelector(".unkept").hidden = isKept; });
follow();
