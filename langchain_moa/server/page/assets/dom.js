// Small things that the views share.

/** A copy of a template's one element. */
export function fromTemplate(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

export const seconds = (value) => `${value.toFixed(1)} s`;

export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

/** Tell a screen reader. */
export function announce(text) {
  document.getElementById("status").textContent = text;
}

/** Show a text in an element, which is hidden without one. */
export function say(id, text) {
  document.getElementById(id).textContent = text;
  document.getElementById(id).hidden = !text;
}

/** Fill a list, which is hidden while it has no lines. */
export function list(element, lines) {
  element.hidden = !lines.length;
  for (const line of lines) element.appendChild(document.createElement("li")).textContent = line;
}

let placed; // where the page was scrolled to last, if not by the reader

/** Scroll to an element, as its style says where. */
export function scrollToStart(element) {
  element.scrollIntoView({ block: "start" });
  placed = scrollY;
}

/** Change the page, and stay at its end if that is where the reader is. */
export function following(change) {
  const root = document.documentElement;
  const isAtEnd = root.scrollHeight - innerHeight - scrollY < 80;
  change();
  if (isAtEnd) scrollToEnd();
}

/** Scroll to the page's end, unless the reader has scrolled elsewhere. */
export function leadToEnd() {
  if (Math.abs(scrollY - placed) < 2) scrollToEnd();
}

function scrollToEnd() {
  scrollTo({ top: document.documentElement.scrollHeight });
  placed = scrollY;
}

/** Call back whenever an element's size changes: whether it is too small for its content. */
export function whenOverflowing(element, tell) {
  const isCut = () => element.scrollHeight > element.clientHeight + 1 || element.scrollWidth > element.clientWidth + 1;
  new ResizeObserver(() => tell(isCut())).observe(element);
}

/** Have an element that scrolls take the focus, without which some browsers don't scroll it by keys. */
export function scrollsByKeys(element) {
  whenOverflowing(element, (isCut) => {
    if (isCut) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
  });
}

/** Have a button copy a text. */
export function copies(button, text) {
  button.addEventListener("click", () => copyFor(button, text()));
}

/** Copy a text, and let the button say so. */
export async function copyFor(button, text) {
  button.dataset.label ??= button.textContent;
  button.textContent = (await copy(text)) ? "Copied" : "Not copied";
  setTimeout(() => { button.textContent = button.dataset.label; }, 1500);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyTheOldWay(text);
  }
}

/** Over plain HTTP from another machine, browsers give no clipboard. */
function copyTheOldWay(text) {
  const area = document.body.appendChild(document.createElement("textarea"));
  const focused = document.activeElement;
  area.className = "hidden";
  area.value = text;
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}
