// What models write, as Markdown that can do nothing: no HTML of theirs, no images, no links but to the web and to mail.

import { Marked } from "./vendor/marked.esm.js";
import DOMPurify from "./vendor/purify.es.mjs";
import { copyFor } from "./dom.js";

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

/** The depths of the headings above the next one, in the model's count, and the level of the page's heading above. */
const headings = { above: [], level: 0 };

const marked = new Marked({
  gfm: true,
  // Headings continue the page's: each at most one level below the one before, whatever the model began with.
  walkTokens(token) {
    if (token.type !== "heading") return;
    headings.above = [...headings.above.filter((depth) => depth < token.depth), token.depth];
    token.depth = Math.min(6, headings.level + headings.above.length);
  },
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

/**
 * Show `text` in `element`, below a heading of the `level`. Blocks that are as they were stay, with the reader's
 * selection in them.
 */
export function show(element, text, level = 2) {
  Object.assign(headings, { above: [], level });
  const fragment = DOMPurify.sanitize(marked.parse(text), SAFE);
  for (const code of fragment.querySelectorAll("pre")) frame(code);
  for (const table of fragment.querySelectorAll("table")) table.tabIndex = 0; // so that it scrolls by keys
  const blocks = [...fragment.children];
  const shown = [...element.children];
  let same = 0;
  while (same < blocks.length && same < shown.length && blocks[same].isEqualNode(shown[same])) same++;
  for (const old of shown.slice(same)) old.remove();
  element.append(...blocks.slice(same));
}

/** Put a block of code beside a button that copies it. */
function frame(code) {
  const place = document.createElement("div");
  place.className = "code";
  code.replaceWith(place);
  code.tabIndex = 0; // so that it scrolls by keys
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet copy-code";
  button.textContent = "Copy code";
  place.append(button, code);
}

document.addEventListener("click", ({ target }) => {
  if (target.className === "quiet copy-code") copyFor(target, target.nextSibling.textContent);
});

/** Show a text that grows, at most once a frame, and not all the time when it is long. */
export class GrowingText {
  #element;
  #shown;
  #level;
  #text = "";
  #frame = 0;
  #notBefore = 0;

  /** `shown` is called around each change of the element, with a function that makes it. `level`: see `show`. */
  constructor(element, shown, level) {
    this.#element = element;
    this.#level = level;
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
    this.#shown(() => show(this.#element, this.#text, this.#level));
    // The longer it takes to draw, the seldomer: the page stays quick.
    this.#notBefore = performance.now() + 4 * (performance.now() - started);
  }
}
