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

/** Have a button copy a text, and say so. */
export function copies(button, text) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    const copied = await copy(text());
    button.textContent = copied ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
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
