// What models write, as Markdown that can do nothing: no HTML of theirs, no images, no links but to the web and to mail.

import { Marked } from "./vendor/marked.esm.js";
import DOMPurify from "./vendor/purify.es.mjs";

const SAFE = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong",
    "del", "a", "table", "thead", "tbody", "tr", "th", "td",
  ],
  ALLOWED_ATTR: ["href", "title", "start", "align"],
  ADD_URI_SAFE_ATTR: ["start", "align"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
  RETURN_DOM_FRAGMENT: true,
};

const marked = new Marked({
  gfm: true,
  // A model's tags are text like any other; only the line break, which tables need, is one.
  tokenizer: {
    html: () => undefined,
    tag(source) {
      const raw = /^<br\s*\/?>/i.exec(source)?.[0];
      return raw && { type: "br", raw };
    },
  },
  renderer: {
    // An image would tell its server who reads the answer: it becomes a link that the reader may follow.
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (!node.hasAttribute?.("href")) return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

function escape(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Show `text` in `element`. Blocks that are as they were stay, with the reader's selection in them. */
export function show(element, text) {
  const blocks = [...DOMPurify.sanitize(marked.parse(text), SAFE).children];
  const shown = [...element.children];
  let same = 0;
  while (same < blocks.length && same < shown.length && blocks[same].isEqualNode(shown[same])) same++;
  for (const old of shown.slice(same)) old.remove();
  element.append(...blocks.slice(same));
}

/** Show a text that grows, at most once a frame, and not all the time when it is long. */
export class GrowingText {
  #element;
  #shown;
  #text = "";
  #frame = 0;
  #notBefore = 0;

  /** `shown` is called around each change of the element, with a function that makes it. */
  constructor(element, shown) {
    this.#element = element;
    this.#shown = shown;
  }

  get text() {
    return this.#text;
  }

  add(text) {
    this.#text += text;
    this.#frame ||= requestAnimationFrame((now) => this.#draw(now));
  }

  /** Show all of it now. */
  finish() {
    cancelAnimationFrame(this.#frame);
    this.#notBefore = 0;
    this.#draw(performance.now());
  }

  #draw(now) {
    if (now < this.#notBefore) {
      this.#frame = requestAnimationFrame((later) => this.#draw(later));
      return;
    }
    this.#frame = 0;
    const started = performance.now();
    this.#shown(() => show(this.#element, this.#text));
    // The longer it takes to draw, the seldomer: the page stays quick.
    this.#notBefore = performance.now() + 4 * (performance.now() - started);
  }
}
