// What happens inside the mixture: its graph, and a card for each proposer.

import { steps, wasAsked } from "./account.js";
import { fromTemplate, list, scrollsByKeys } from "./dom.js";
import { AGGREGATOR, Graph, key } from "./graph.js";
import { ProposerCard } from "./proposer.js";

export class Inside {
  #element;
  #cards = new Map();
  #graph;

  constructor(element, lineup) {
    this.#element = element;
    this.#find(".what").textContent = `Inside ${lineup}`;
    scrollsByKeys(this.#find(".graph"));
  }

  /** `layers`: the proposers' names, layer by layer. */
  build(layers) {
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

  proposerStarted({ layer, proposer, model }) {
    this.#cards.get(key(layer, proposer))?.start({ model });
    this.#graph.set(key(layer, proposer), "running");
  }

  proposerEnded(layer, call) {
    const id = key(layer, call.proposer);
    this.#cards.get(id)?.end(call);
    this.#graph.set(id, call.status);
  }

  aggregator(status, model) {
    this.#graph?.set(AGGREGATOR, status, model);
  }

  /** Show what the answer's account adds. `winner`: the proposer whose text is the answer, if there is one. */
  complete(moa, winner) {
    moa.layers.forEach((calls, index) => {
      for (const call of calls) {
        // Those that were not asked this time were not told of; what the others cost may be known only now.
        if (wasAsked(call)) this.#cards.get(key(index + 1, call.proposer))?.bill(call);
        else this.proposerEnded(index + 1, call);
      }
    });
    if (winner) this.#cards.get(key(moa.layers.length, winner))?.choose();
    list(this.#find(".steps"), steps(moa));
  }

  /** Nobody waits for the proposers any more. */
  stop() {
    for (const [id, card] of this.#cards) {
      if (card.status === "running") this.#graph.set(id, "cancelled");
      card.stop();
    }
  }

  /** Show the time that goes by. */
  tick() {
    for (const card of this.#cards.values()) card.tick();
  }

  progress(text) {
    this.#find(".progress").textContent = text;
  }

  fold() {
    this.#element.open = false;
  }

  #find(selector) {
    return this.#element.querySelector(selector);
  }
}
