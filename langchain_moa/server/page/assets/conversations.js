// The store of conversations. They stay in this browser; where it keeps nothing, only as long as the page is open.
//
// A conversation is `{id, title, changed, turns}`, a turn `{number, question, images, lineup, events, outcome}`: what
// was asked, what the server told of the answer, and how it ended (null: it has not, or the page was left before).

import { openDatabase } from "./database.js";

const opening = openDatabase().catch(() => new Memory());

/** Whether conversations outlive the page. */
export const isKept = async () => (await opening).isKept;

/** All conversations without their turns, the latest first. */
export const list = async () => (await (await opening).list()).sort((one, other) => other.changed - one.changed);

/** One conversation with its turns, or nothing. */
export const get = async (id) => (await opening).get(id);

/** Keep a turn. With `isNew` its conversation need not be there; with `isCut` the turns after it go. */
export async function save({ id, title, isNew, isCut }, turn) {
  await (await opening).save({ id, title, isNew, isCut, changed: Date.now() }, turn);
}

export const rename = async (id, title) => (await opening).rename(id, title);

export const remove = async (id) => (await opening).remove(id);

/** Why something could not be kept, in a sentence. */
export function inWords(error) {
  if (error?.name === "QuotaExceededError") {
    return "This browser has no room for the conversation: delete others, or it is gone when the page is closed.";
  }
  return "This browser could not keep the conversation: it is gone when the page is closed.";
}

class Memory {
  isKept = false;
  #all = new Map();

  list() {
    return [...this.#all.values()];
  }

  get(id) {
    return this.#all.get(id);
  }

  save({ id, title, changed, isNew }, turn) {
    const known = this.#all.get(id);
    if (!known && !isNew) throw new Error("It was deleted.");
    const turns = [...(known?.turns ?? []).slice(0, turn.number), turn];
    this.#all.set(id, { id, title, ...known, changed, turns });
  }

  rename(id, title) {
    const known = this.#all.get(id);
    if (known) known.title = title;
  }

  remove(id) {
    this.#all.delete(id);
  }
}
