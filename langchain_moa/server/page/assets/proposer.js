// The card of one proposer: who it is, how long it takes, what it proposes or why it does not.

import { bill, wasAsked } from "./account.js";
import { copies, following, fromTemplate, seconds, whenOverflowing } from "./dom.js";
import { sentence } from "./failures.js";
import { show } from "./markdown.js";

const MARKS = { waiting: "○", running: "◌", ok: "✓", truncated: "✓", cancelled: "–", skipped: "–" };
const FAILED = "✗";
const LEVEL = 4; // of its heading

const WORDS = {
  running: "working",
  failed: "failed",
  timeout: "timed out",
  cancelled: "cancelled",
  empty: "empty answer",
  truncated: "cut off",
  skipped: "not asked",
};

export class ProposerCard {
  element = fromTemplate("proposer");
  status = "waiting";
  #started = 0;
  #text = "";

  constructor(name) {
    this.#find("h4").textContent = name;
    this.#find("h4").title = name;
    this.element.setAttribute("aria-label", `Proposer ${name}`);
    copies(this.#find(".copy"), () => this.#text);
    this.#find(".expand").addEventListener("click", () => this.#toggle());
    whenOverflowing(this.#find(".text"), (isCut) => this.#offerAll(isCut));
    this.#become("waiting");
  }

  start({ model }) {
    this.#started = performance.now();
    this.#become("running", model);
  }

  /** Show the time that goes by. */
  tick() {
    if (this.status === "running") {
      this.#find(".seconds").textContent = seconds((performance.now() - this.#started) / 1000);
    }
  }

  /** `call`: what became of it, as in the answer's account. */
  end(call) {
    this.#become(call.status, call.model, call.reused && "given before", call.references_trimmed && "saw less");
    this.bill(call);
    this.#find(".seconds").textContent = wasAsked(call) ? seconds(call.seconds) : "";
    following(() => this.#fill(call));
  }

  /** Show the tokens and the cost, as far as they are known. */
  bill(call) {
    this.#find(".bill").textContent = bill(call);
  }

  /** Its text is the answer. */
  choose() {
    this.element.classList.add("chosen");
    this.#find(".facts").textContent += " · the answer";
  }

  /** Nobody waits for it any more. */
  stop() {
    if (this.status === "running") this.#become("cancelled");
  }

  #fill(call) {
    const text = this.#find(".text");
    this.#text = call.text ?? "";
    text.hidden = !call.text && !call.error;
    this.#find("footer").hidden = !call.text;
    if (call.text) {
      show(text, call.text, LEVEL);
    } else {
      text.textContent = sentence(call.error);
      text.classList.add("cause");
    }
  }

  /** Offer to show all of a text that is cut; and let it scroll by keys in every browser. */
  #offerAll(isCut) {
    if (this.element.classList.contains("expanded")) return;
    this.#find(".expand").hidden = !isCut;
    if (isCut) this.#find(".text").tabIndex = 0;
    else this.#find(".text").removeAttribute("tabindex");
  }

  #become(status, ...facts) {
    this.status = status;
    this.element.dataset.status = status;
    this.#find(".mark").textContent = MARKS[status] ?? FAILED;
    const [model, ...others] = facts;
    if (model) this.element.dataset.model = model;
    const parts = [WORDS[status], this.element.dataset.model, ...others];
    this.#find(".facts").textContent = parts.filter(Boolean).join(" · ");
  }

  #toggle() {
    const isExpanded = this.element.classList.toggle("expanded");
    this.#find(".expand").setAttribute("aria-expanded", String(isExpanded));
    this.#find(".expand").textContent = isExpanded ? "Collapse" : "Expand";
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }
}
