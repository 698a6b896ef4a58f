// One conversation: its turns on the page, the answer in the making, and what is kept of it.

import { KeyWantedError } from "./api.js";
import * as conversations from "./conversations.js";
import { contentOf } from "./images.js";
import { run } from "./stream.js";
import { Turn } from "./turn.js";

const SELDOM_MS = 500; // tokens come by the hundred

/** Sends `began` and `ended` around each answer, `kept` and `unkept` (its detail: why) as it is written down. */
export class Conversation extends EventTarget {
  element = document.createElement("div");
  turns = [];
  isCut = false;
  #running;
  #isDiscarded = false;
  #waiting; // the record to keep next
  #keeping;
  #keptAt = 0;
  #soon; // the timer of what is kept a little later

  constructor({ id = newId(), title = "", turns = [], isNew = true } = {}) {
    super();
    Object.assign(this, { id, title, isNew });
    this.element.className = "turns";
    for (const record of turns) this.#add(record).replay();
  }

  get isRunning() {
    return Boolean(this.#running);
  }

  /** Ask for an answer, at the end or in place of the turns from `number` on. Resolves when it is there. */
  async ask({ question, images, lineup }, number = this.turns.length) {
    for (const turn of this.turns.splice(number)) turn.element.remove();
    this.isCut = true;
    this.title ||= titleOf(question, images);
    const before = [...this.turns];
    const turn = this.#add({ number, question, images, lineup, events: [], outcome: null }, { isLive: true });
    this.#running = new AbortController();
    this.#tell("began");
    const started = performance.now();
    const outcome = await this.#answer(turn, before);
    clearTimeout(this.#soon);
    this.#soon = undefined;
    turn.end({ ...outcome, seconds: (performance.now() - started) / 1000 });
    this.#keep(turn.record);
    await this.#keeping;
    this.#running = undefined;
    this.#tell("ended");
    return outcome;
  }

  stop() {
    this.#running?.abort();
  }

  /** Keep nothing more of it. */
  discard() {
    this.#isDiscarded = true;
    this.stop();
  }

  async #answer(turn, before) {
    try {
      this.#keep(turn.record);
      const { signal } = this.#running;
      for await (const event of run(turn.record.lineup, await messages(before, turn), signal)) {
        turn.take(event);
        if (event.event === "token") this.#keepSoon(turn.record);
        else this.#keep(turn.record);
      }
      return { kind: "complete" };
    } catch (error) {
      if (error.name === "AbortError") return { kind: "stopped" };
      return { kind: "failed", problem: error.message, wantsKey: error instanceof KeyWantedError };
    }
  }

  #add(record, options) {
    this.turns.at(-1)?.fold();
    const turn = new Turn(record, options);
    this.turns.push(turn);
    this.element.append(turn.element);
    return turn;
  }

  /** Have a record written down as it is by then: one that changes in the meantime only once more. */
  #keep(record) {
    this.#waiting = record;
    this.#keeping ??= this.#write();
  }

  #keepSoon(record) {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#keep(record);
    }, this.#keptAt + SELDOM_MS - performance.now());
  }

  async #write() {
    while (this.#waiting && !this.#isDiscarded) {
      const record = this.#waiting;
      this.#waiting = undefined;
      this.#keptAt = performance.now();
      try {
        await conversations.save(this, record);
        this.isNew = false;
        this.isCut = false; // what comes after it from now on is another tab's
        this.#tell("kept");
      } catch (error) {
        this.#tell("unkept", conversations.inWords(error));
      }
    }
    this.#keeping = undefined;
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** What the models see: the turns that have an answer, or a part of one, and the question. */
async function messages(before, turn) {
  const seen = before.filter(({ text }) => text).map(async ({ record, text }) => [
    { role: "user", content: await contentOf(record) },
    { role: "assistant", content: text },
  ]);
  return [...(await Promise.all(seen)).flat(), { role: "user", content: await contentOf(turn.record) }];
}

function titleOf(question, images) {
  const title = question.split("\n", 1)[0] || `Image: ${images[0]?.name}`;
  return title.length > 60 ? `${title.slice(0, 60).trimEnd()}…` : title;
}

/** Random. `crypto.randomUUID` is missing over plain HTTP from another machine. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
