// Shows the answers a page at a time. Everything that a model wrote is set as text, never as HTML.
const PAGE = 20;
const section = document.querySelector(".answers");

function element(tag, kind, text) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}

async function unpacked(chunk) {
  const bytes = Uint8Array.from(atob(chunk.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const short = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(2));
const told = (value, form) => (value === null || value === undefined ? [] : [form(value)]);

// A box of text that scrolls when it is long, with the keyboard too.
function box(text, label) {
  const made = element("div", "text", text === "" ? "(empty)" : text);
  made.tabIndex = 0;
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", label);
  return made;
}

function folded(title, parts) {
  const made = element("details");
  made.append(element("summary", "", title), ...parts);
  return made;
}

function proposal(one, system) {
  const turn = one.turn > 1 ? [`turn ${one.turn}`] : [];
  const seconds = told(one.seconds, (value) => `${value.toFixed(1)} s`);
  const facts = [...turn, `layer ${one.layer}`, one.proposer, one.status, ...seconds].filter(Boolean).join(" · ");
  const made = element("div", "part");
  made.append(element("p", "facts", facts));
  const text = one.text ?? one.error;
  if (text !== null && text !== undefined) made.append(box(text, `Proposal of ${one.proposer} to ${system}`));
  return made;
}

function verdict(one, system) {
  const made = element("div", "part");
  const score = one.score === null ? "no score" : `score ${short(one.score)}`;
  made.append(element("p", "facts", [one.part, score].filter(Boolean).join(" · ")));
  const text = one.error ?? one.reply;
  if (text) made.append(box(text, `Verdict on ${system}`));
  if (Object.keys(one.fields).length) made.append(box(JSON.stringify(one.fields), `Details of the verdict on ${system}`));
  return made;
}

function answer(one, system) {
  const made = element("div", "answer");
  made.append(element("h4", "", system));
  if (one === null) {
    made.append(element("p", "facts", "not asked"));
    return made;
  }
  const facts = [
    one.score === null ? "no score" : `score ${short(one.score)}`,
    ...told(one.calls, (value) => `${value} ${value === 1 ? "call" : "calls"}`),
    ...told(one.usd, (value) => `${value.toPrecision(2)} USD`),
    ...told(one.seconds, (value) => `${value.toFixed(1)} s`),
  ];
  made.append(element("p", "facts", facts.join(" · ")));
  if (one.error !== null) made.append(element("p", "error", `Failed: ${one.error}`));
  one.texts.forEach((text, turn) => {
    made.append(box(text, `Answer of ${system}${one.texts.length > 1 ? `, turn ${turn + 1}` : ""}`));
  });
  if (one.proposals.length) {
    made.append(folded(`Proposals (${one.proposals.length})`, one.proposals.map((each) => proposal(each, system))));
  }
  if (one.verdicts.length) {
    made.append(folded(`Verdicts (${one.verdicts.length})`, one.verdicts.map((each) => verdict(each, system))));
  }
  return made;
}

function card(question, systems) {
  const made = element("article");
  made.append(element("h3", "", `Question ${question.id}`), box(question.text, `Question ${question.id}`));
  const row = element("div", "side-by-side");
  row.append(...question.answers.map((one, i) => answer(one, systems[i])));
  made.append(row);
  return made;
}

if (section) {
  const index = JSON.parse(document.getElementById("answers-index").textContent);
  const chunks = [...document.querySelectorAll(".answers-chunk")];
  const place = section.querySelector(".place");
  const [previous, next] = [".previous", ".next"].map((name) => section.querySelector(name));
  const list = section.querySelector(".questions");
  let page = 0;
  let drawing = 0;

  const shown = () => {
    const filter = section.querySelector("input[name=shown]:checked").value;
    const all = index.flags.map((_, i) => i);
    return filter === "all" ? all : all.filter((i) => index.flags[i].includes(filter[0]));
  };

  const draw = async () => {
    const mine = ++drawing;
    const found = shown();
    const here = found.slice(page * PAGE, (page + 1) * PAGE);
    const wanted = [...new Set(here.map((i) => Math.floor(i / index.chunk)))];
    const rows = new Map(await Promise.all(wanted.map(async (number) => [number, await unpacked(chunks[number])])));
    if (mine !== drawing) return; // another page was asked for while this one was unpacked
    list.replaceChildren(
      ...here.map((i) => card(rows.get(Math.floor(i / index.chunk))[i % index.chunk], index.systems)),
    );
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    place.textContent = `Page ${page + 1} of ${pages}, ${found.length} questions`;
    previous.disabled = page === 0;
    next.disabled = page + 1 >= pages;
  };

  const turn = (by) => {
    page += by;
    draw().then(() => section.scrollIntoView());
  };
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  section.querySelector(".filters").addEventListener("change", () => {
    page = 0;
    draw();
  });
  if ("DecompressionStream" in window) draw();
  else place.textContent = "This browser can't unpack the answers: open the page in a newer one.";
}
