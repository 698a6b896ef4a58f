// One question, what happens inside the mixture, and the answer.

import { analysis, bill, chosen, notes, summary } from "./account.js";
import { announce, copies, count, following, fromTemplate, leadToEnd, list, scrollsByKeys, seconds } from "./dom.js";
import { sentence } from "./failures.js";
import { thumbnail } from "./images.js";
import { Inside } from "./inside.js";
import { GrowingText, show } from "./markdown.js";
import { fillPrompt } from "./prompt.js";

const TICK_MS = 100;
const ANSWER_LEVEL = 3; // of its heading

/** Its element sends `edit` and `retry`, whose detail is the turn. */
export class Turn {
  element = fromTemplate("turn");
  #inside;
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
    this.#inside = new Inside(this.#find(".inside"), record.lineup);
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
    try {
      this.record.events.forEach((event) => this.#on(event));
      this.end(this.record.outcome ?? { kind: "interrupted" });
    } catch {
      this.#problem("This answer was kept by another version of this page, and can't be shown whole.");
    }
  }

  /** It ended. `kind`: `complete`, `failed` (`problem` says why), `stopped` or `interrupted`. */
  end({ kind, problem, seconds: elapsed }) {
    if (kind !== "interrupted") this.record.outcome = { kind, problem, seconds: elapsed };
    this.#inside.progress("");
    if (kind === "complete") this.#complete(this.#account, elapsed);
    else this.#endEarly(kind, problem, elapsed);
    this.#finish();
  }

  /** Make room for the next question. */
  fold() {
    this.#inside.fold();
    this.#find(".retry").hidden = true;
  }

  /** Take an event; those that a page knows nothing of are passed over. */
  #on(event) {
    this.#events[event.event]?.(event);
  }

  #events = {
    structure: ({ layers }) => following(() => this.#inside.build(layers)),
    proposer_start: (about) => {
      this.#inside.proposerStarted(about);
      this.#inside.progress(`layer ${about.layer}`);
    },
    proposer_end: (call) => {
      this.#inside.proposerEnded(call.layer, call);
      this.#inside.progress(`layer ${call.layer}, ${call.done} of ${call.total}`);
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

  #write({ model, references }) {
    this.#isWriting = true;
    this.#writingSince = performance.now();
    this.#inside.aggregator("running", model);
    this.#find(".answer").hidden = false;
    this.#find(".answer").setAttribute("aria-busy", "true");
    this.#find(".by").textContent = `${model}, from ${count(references, "reference")}`;
    this.#inside.progress("the aggregator is at work");
    if (this.#isLive && this.element.isConnected) leadToEnd();
    this.#announce("The aggregator is at work.");
  }

  #complete({ moa, usage, finish_reason }, elapsed) {
    const choice = chosen(moa);
    this.#inside.complete(moa, choice?.proposer);
    this.#inside.aggregator(finish_reason === "length" ? "truncated" : "ok", moa.aggregator?.model);
    this.#isWriting = false;
    if (moa.aggregator) {
      this.#find(".answer .seconds").textContent = seconds(moa.aggregator.seconds);
      this.#find(".answer .bill").textContent = bill(moa.aggregator);
    }
    if (choice) this.#find(".by").textContent = choice.why;
    this.#analyzed(analysis(moa));
    list(this.#find(".notes"), notes(moa, finish_reason));
    this.#find(".account .sum").textContent = summary(moa, usage, elapsed);
    this.#announce("The answer is complete.");
  }

  #analyzed(text) {
    this.#find(".analysis").hidden = !text;
    show(this.#find(".analysis .text"), text);
  }

  #endEarly(kind, problem, elapsed) {
    this.#problem({ failed: problem, interrupted: INTERRUPTED }[kind] ?? "");
    const how = { failed: "after", stopped: "Stopped after" }[kind];
    this.#find(".account .sum").textContent = how ? `${how} ${seconds(elapsed)}` : "";
    if (this.#isWriting) this.#inside.aggregator(kind === "failed" ? "failed" : "cancelled");
    if (kind === "interrupted") this.#inside.progress(kind);
    if (kind === "stopped") this.#announce("Stopped.");
  }

  #finish() {
    clearInterval(this.#clock);
    this.#isWriting = false;
    this.#answer.finish();
    following(() => {
      this.#inside.stop();
      this.#find(".answer").hidden = !this.text;
      this.#find(".answer").removeAttribute("aria-busy");
      this.#find(".account").hidden = false;
      this.#find(".account .copy").hidden = !this.text;
    });
  }

  #problem(text) {
    this.#find(".problem").textContent = text;
    this.#find(".problem").hidden = !text;
  }

  #tick() {
    this.#inside.tick();
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

  #find(selector) {
    return this.element.querySelector(selector);
  }
}

const INTERRUPTED = "Interrupted: the page was closed or loaded anew before the answer was complete, "
  + "or another tab is still writing it.";
