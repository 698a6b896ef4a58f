// The graph of a mixture: the question, the proposers of each layer, the aggregator.

const SVG = "http://www.w3.org/2000/svg";
const NODE = { width: 156, height: 30 };
const GAP = { x: 48, y: 10 };
const LABEL = { x: 26, y: 5, end: 8 }; // where a node's name is, and the room after it
const SMALLEST = 0.75; // of its own size, so that names stay readable on a phone
const START = 14; // room for the question's dot

export const AGGREGATOR = "aggregator";

/** A node's name in the graph. */
export const key = (layer, proposer) => `${layer}/${proposer}`;

export class Graph {
  #nodes = new Map();
  #edges = [];

  /** `layers`: the proposers' names, layer by layer. */
  constructor(layers) {
    const columns = [
      ...layers.map((names, index) => names.map((name) => ({ id: key(index + 1, name), name }))),
      [{ id: AGGREGATOR, name: "aggregator" }],
    ];
    const rows = Math.max(...columns.map((column) => column.length));
    const width = 2 * START + columns.length * (NODE.width + GAP.x);
    const height = rows * (NODE.height + GAP.y) + GAP.y;
    this.element = make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
    this.element.setAttribute("aria-label", inWords(layers));
    this.element.style.minWidth = `${SMALLEST * width}px`;
    this.#draw(columns, height);
  }

  /** Colour a node, and what leaves it. */
  set(id, status, name) {
    const node = this.#nodes.get(id);
    if (!node) return;
    node.dataset.status = status;
    if (name) label(node, name);
    node.querySelector("title").textContent = `${node.dataset.name}: ${status}`;
    for (const edge of this.#edges) {
      if (edge.from === id) edge.path.dataset.status = status;
      if (edge.from === "question" && edge.to === id && status !== "skipped") edge.path.dataset.status = "ok";
    }
  }

  #draw(columns, height) {
    const lines = this.element.appendChild(make("g", { class: "edges" }));
    const dot = make("circle", { class: "question-dot", cx: START, cy: height / 2, r: 6 });
    this.element.append(dot);
    let before = [{ id: "question", x: START + 6, y: height / 2 }];
    columns.forEach((column, index) => {
      const x = START + GAP.x + index * (NODE.width + GAP.x);
      const top = (height - column.length * (NODE.height + GAP.y) + GAP.y) / 2;
      const placed = column.map(({ id, name }, row) => {
        const y = top + row * (NODE.height + GAP.y);
        this.#nodes.set(id, this.element.appendChild(box(name, x, y)));
        return { id, x, y: y + NODE.height / 2 };
      });
      for (const to of placed) for (const from of before) this.#connect(lines, from, to);
      before = placed.map((end) => ({ ...end, x: end.x + NODE.width }));
    });
  }

  #connect(lines, from, to) {
    const middle = (from.x + to.x) / 2;
    const d = `M${from.x} ${from.y} C${middle} ${from.y} ${middle} ${to.y} ${to.x} ${to.y}`;
    this.#edges.push({ from: from.id, to: to.id, path: lines.appendChild(make("path", { d })) });
  }
}

function box(name, x, y) {
  const node = make("g", { class: "node", transform: `translate(${x} ${y})` });
  node.dataset.status = "waiting";
  node.append(make("title"), make("rect", { width: NODE.width, height: NODE.height, rx: 8 }));
  node.append(make("circle", { cx: 14, cy: NODE.height / 2, r: 4 }), place());
  label(node, name);
  return node;
}

/** Room for a name, as HTML: SVG's own text can't be cut with an ellipsis where it would overflow. */
function place() {
  const size = { width: NODE.width - LABEL.x - LABEL.end, height: NODE.height - 2 * LABEL.y };
  const room = make("foreignObject", { x: LABEL.x, y: LABEL.y, ...size });
  room.appendChild(document.createElement("div")).className = "label";
  return room;
}

function label(node, name) {
  node.dataset.name = name;
  node.querySelector("title").textContent = name;
  node.querySelector(".label").textContent = name;
}

function make(tag, attributes = {}) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function inWords(layers) {
  const parts = layers.map((names, index) => `layer ${index + 1}: ${names.join(", ")}`);
  return `The mixture. ${parts.join("; ")}; then the aggregator.`;
}
