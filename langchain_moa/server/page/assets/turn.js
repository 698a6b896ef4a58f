// One question, what happens inside the mixture, and the answer.

import { analysis, chosen, notes, summary, wasAsked } from "./account.js";
import { announce, copies, count, following, fromTemplate, leadToEnd, seconds } from "./dom.js";
import { sentence } from "./failures.js";
import { AGGREGATOR, Graph, key } from "./graph.js";
import { GrowingText, show } from "./markdown.js";
import { ProposerCard } from "./proposer.js";

const TICK_MS = 100;

export class Turn {
  element = fromTemplate("turn");
  #cards = new Map();
  #graph;
  #answer;
  #isWriting = false;
  #started = performance.now();
  #writingSince = 0;
  #clock = setInterval(() => this.#tick(), TICK_MS);

  constructor(question, lineup) {
    this.question = question;
    this.#find(".question").textContent = question;
    this.#find(".what").textContent = `Inside ${lineup}`;
    this.#answer = new GrowingText(this.#find(".answer .text"), following);
    copies(this.#find(".account .copy"), () => this.text);
  }

  /** The answer so far, as Markdown. */
  get text() {
    return this.#answer.text;
  }

  get retryButton() {
    return this.#find(".retry");
  }

  /** Take an event of the run; those that a page knows nothing of are passed over. */
  on(event) {
    this.#events[event.event]?.(event);
  }

  /** It ended early: `problem` says why, in words. */
  fail(problem) {
    this.#find(".problem").textContent = problem;
    this.#find(".problem").hidden = false;
    this.#find(".account .sum").textContent = `after ${seconds(this.#elapsed(this.#started))}`;
    if (this.#isWriting) this.#graph.set(AGGREGATOR, "failed");
    this.#finish();
  }

  /** The reader stopped it. */
  stop() {
    this.#find(".account .sum").textContent = `Stopped after ${seconds(this.#elapsed(this.#started))}`;
    if (this.#isWriting) this.#graph.set(AGGREGATOR, "cancelled");
    announce("Stopped.");
    this.#finish();
  }

  /** Make room for the next question. */
  fold() {
    this.#find(".inside").open = false;
    this.retryButton.hidden = true;
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
      announce(`${call.proposer} ${became} (${call.done} of ${call.total})`);
    },
    aggregator_start: (about) => following(() => this.#write(about)),
    token: ({ text }) => {
      this.#find(".answer").hidden = false; // nobody writes an answer that was selected or voted for
      this.#answer.add(text);
    },
    end: (account) => this.#complete(account),
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
    leadToEnd();
    announce("The aggregator is at work.");
  }

  #complete({ moa, usage, finish_reason }) {
    moa.layers.forEach((calls, index) => {
      // Those that were not asked this time were not told of either.
      for (const call of calls) if (!wasAsked(call)) this.#ended(index + 1, call);
    });
    const isCutOff = finish_reason === "length";
    this.#graph.set(AGGREGATOR, isCutOff ? "truncated" : "ok", moa.aggregator?.model);
    this.#isWriting = false;
    if (moa.aggregator) this.#find(".answer .seconds").textContent = seconds(moa.aggregator.seconds);
    const choice = chosen(moa);
    if (choice) {
      this.#cards.get(key(moa.layers.length, choice.proposer))?.choose();
      this.#find(".by").textContent = choice.why;
    }
    this.#analyzed(analysis(moa));
    this.#note(notes(moa, finish_reason));
    this.#find(".account .sum").textContent = summary(moa, usage, this.#elapsed(this.#started));
    announce("The answer is complete.");
    this.#finish();
  }

  #analyzed(text) {
    this.#find(".analysis").hidden = !text;
    show(this.#find(".analysis .text"), text);
  }

  #note(sentences) {
    const list = this.#find(".notes");
    list.hidden = !sentences.length;
    for (const sentence of sentences) list.appendChild(document.createElement("li")).textContent = sentence;
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

  #tick() {
    for (const card of this.#cards.values()) card.tick();
    if (this.#isWriting) this.#find(".answer .seconds").textContent = seconds(this.#elapsed(this.#writingSince));
  }

  #elapsed(since) {
    return (performance.now() - since) / 1000;
  }

  #progress(text) {
    this.#find(".progress").textContent = text;
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }
}
