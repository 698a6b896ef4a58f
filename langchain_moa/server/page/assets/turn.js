// One question, what happens inside the mixture, and the answer.

import { analysis, bill, chosen, notes, steps, summary, wasAsked } from "./account.js";
import { announce, copies, count, following, fromTemplate, leadToEnd, scrollsByKeys, seconds } from "./dom.js";
import { sentence } from "./failures.js";
import { AGGREGATOR, Graph, key } from "./graph.js";
import { thumbnail } from "./images.js";
import { GrowingText, show } from "./markdown.js";
import { fillPrompt } from "./prompt.js";
import { ProposerCard } from "./proposer.js";

const TICK_MS = 100;
const ANSWER_LEVEL = 3; // of its heading

/** Its element sends `edit` and `retry`, whose detail is the turn. */
export class Turn {
  element = fromTemplate("turn");
  #cards = new Map();
  #graph;
  #answer;
  #account;
  #isLive;
  #isWriting = false;
  #writingSince = 0;
  #clock;

  /** `record`: the turn as it is kept, see `conversations.js`. `isLive`: it is being answered. */
  constructor(record, { isLive = false } = {}) {
    this.record = record;
    this.#isLive = isLive;
    if (isLive) this.#clock = setInterval(() => this.#tick(), TICK_MS);
    this.#find("h2").textContent = `Question ${record.number + 1}`;
    this.#find(".question .words").textContent = record.question;
    this.#find(".question .images").append(...record.images.map(thumbnail));
    scrollsByKeys(this.#find(".question .words"));
    scrollsByKeys(this.#find(".graph"));
    this.#find(".what").textContent = `Inside ${record.lineup}`;
    this.#answer = new GrowingText(this.#find(".answer .text"), following, ANSWER_LEVEL);
    copies(this.#find(".account .copy"), () => this.text);
    this.#sends("edit");
    this.#sends("retry");
  }

  /** The answer so far, as Markdown. */
  get text() {
    return this.#answer.text;
  }

  /** Where the answer is, or what there is instead of one. */
  get target() {
    return this.text ? this.#find(".answer") : this.element;
  }

  /** Take an event of the run, and keep it. */
  take(event) {
    const last = this.record.events.at(-1);
    if (event.event === "token" && last?.event === "token") last.text += event.text;
    else this.record.events.push({ ...event });
    this.#on(event);
  }

  /** Show what was kept. */
  replay() {
    this.record.events.forEach((event) => this.#on(event));
    this.end(this.record.outcome ?? { kind: "interrupted" });
  }

  /** It ended. `kind`: `complete`, `failed` (`problem` says why), `stopped` or `interrupted`. */
  end({ kind, problem, seconds: elapsed }) {
    if (kind !== "interrupted") this.record.outcome = { kind, problem, seconds: elapsed };
    if (kind === "complete") this.#complete(this.#account, elapsed);
    else this.#endEarly(kind, problem, elapsed);
    this.#finish();
  }

  /** Make room for the next question. */
  fold() {
    this.#find(".inside").open = false;
    this.#find(".retry").hidden = true;
  }

  /** Take an event; those that a page knows nothing of are passed over. */
  #on(event) {
    this.#events[event.event]?.(event);
  }

  #events = {
    structure: ({ layers }) => following(() => this.#build(layers)),
    proposer_start: (about) => {
      this.#cards.get(key(about.layer, about.proposer))?.start(about);
      this.#graph.set(key(about.layer, about.proposer), "running");
      this.#progress(`layer ${about.layer}`);
    },
    proposer_end: (call) => {
      this.#ended(call.layer, call);
      this.#progress(`layer ${call.layer}, ${call.done} of ${call.total}`);
      const became = call.status === "ok" ? "answered" : `${call.status}: ${sentence(call.error)}`;
      this.#announce(`${call.proposer} ${became} (${call.done} of ${call.total})`);
    },
    aggregator_start: (about) => following(() => this.#write(about)),
    prompt: ({ messages }) => fillPrompt(this.#find(".prompt"), messages),
    token: ({ text }) => {
      this.#find(".answer").hidden = false; // nobody writes an answer that was selected or voted for
      this.#answer.add(text);
    },
    end: (account) => { this.#account = account; },
  };

  #build(layers) {
    this.#graph = new Graph(layers);
    this.#find(".graph").replaceChildren(this.#graph.element);
    layers.forEach((names, index) => {
      const layer = fromTemplate("layer");
      layer.querySelector("h3").textContent = `Layer ${index + 1}`;
      for (const name of names) {
        const card = new ProposerCard(name);
        this.#cards.set(key(index + 1, name), card);
        layer.querySelector(".proposers").append(card.element);
      }
      this.#find(".layers").append(layer);
    });
  }

  #ended(layer, call) {
    const id = key(layer, call.proposer);
    this.#cards.get(id)?.end(call);
    this.#graph.set(id, call.status);
  }

  #write({ model, references }) {
    this.#isWriting = true;
    this.#writingSince = performance.now();
    this.#graph.set(AGGREGATOR, "running", model);
    this.#find(".answer").hidden = false;
    this.#find(".answer").setAttribute("aria-busy", "true");
    this.#find(".by").textContent = `${model}, from ${count(references, "reference")}`;
    this.#progress("the aggregator is at work");
    if (this.#isLive && this.element.isConnected) leadToEnd();
    this.#announce("The aggregator is at work.");
  }

  #complete({ moa, usage, finish_reason }, elapsed) {
    moa.layers.forEach((calls, index) => {
      for (const call of calls) {
        // Those that were not asked this time were not told of; what the others cost may be known only now.
        if (wasAsked(call)) this.#cards.get(key(index + 1, call.proposer))?.bill(call);
        else this.#ended(index + 1, call);
      }
    });
    const isCutOff = finish_reason === "length";
    this.#graph.set(AGGREGATOR, isCutOff ? "truncated" : "ok", moa.aggregator?.model);
    this.#isWriting = false;
    if (moa.aggregator) {
      this.#find(".answer .seconds").textContent = seconds(moa.aggregator.seconds);
      this.#find(".answer .bill").textContent = bill(moa.aggregator);
    }
    const choice = chosen(moa);
    if (choice) {
      this.#cards.get(key(moa.layers.length, choice.proposer))?.choose();
      this.#find(".by").textContent = choice.why;
    }
    this.#find(".analysis").hidden = !moa.analysis;
    show(this.#find(".analysis .text"), analysis(moa));
    this.#list(".steps", steps(moa));
    this.#list(".notes", notes(moa, finish_reason));
    this.#find(".account .sum").textContent = summary(moa, usage, elapsed);
    this.#announce("The answer is complete.");
  }

  #endEarly(kind, problem, elapsed) {
    const text = { failed: problem, interrupted: INTERRUPTED }[kind] ?? "";
    this.#find(".problem").textContent = text;
    this.#find(".problem").hidden = !text;
    this.#find(".account .sum").textContent = {
      failed: `after ${seconds(elapsed ?? 0)}`,
      stopped: `Stopped after ${seconds(elapsed ?? 0)}`,
    }[kind] ?? "";
    if (this.#isWriting) this.#graph.set(AGGREGATOR, kind === "failed" ? "failed" : "cancelled");
    if (kind === "stopped") this.#announce("Stopped.");
  }

  #finish() {
    clearInterval(this.#clock);
    for (const [id, card] of this.#cards) {
      if (card.status === "running") this.#graph.set(id, "cancelled");
      card.stop();
    }
    this.#isWriting = false;
    this.#answer.finish();
    following(() => {
      this.#progress("");
      this.#find(".answer").hidden = !this.text;
      this.#find(".answer").removeAttribute("aria-busy");
      this.#find(".account").hidden = false;
      this.#find(".account .copy").hidden = !this.text;
    });
  }

  #list(selector, sentences) {
    const list = this.#find(selector);
    list.hidden = !sentences.length;
    for (const sentence of sentences) list.appendChild(document.createElement("li")).textContent = sentence;
  }

  #tick() {
    for (const card of this.#cards.values()) card.tick();
    if (!this.#isWriting) return;
    this.#find(".answer .seconds").textContent = seconds((performance.now() - this.#writingSince) / 1000);
  }

  #sends(type) {
    const send = () => this.element.dispatchEvent(new CustomEvent(type, { bubbles: true, detail: this }));
    this.#find(`.${type}`).addEventListener("click", send);
  }

  #announce(text) {
    if (this.#isLive && this.element.isConnected) announce(text);
  }

  #progress(text) {
    this.#find(".progress").textContent = text;
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }
}

const INTERRUPTED = "Interrupted: the page was closed or loaded anew before the answer was complete.";
