// The account of an answer, `response_metadata["moa"]`, in words.

import { count, seconds } from "./dom.js";
import { sentence } from "./failures.js";

const INSTEAD = {
  no_complete_candidate: "No proposal was complete, so none could be selected: the aggregator wrote the answer.",
  verdicts_disagree: "The judge's verdicts have no majority: the aggregator wrote the answer.",
  verdict_unusable: "A verdict of the judge could not be used.",
  vote_tied: "The vote was tied: the aggregator wrote the answer.",
  vote_without_answer: "No proposal had an answer to count: the aggregator wrote the answer.",
  analysis_unusable: "The analysis could not be used: the aggregator wrote the answer without it.",
  references_trimmed: "Proposals were shortened to fit into the next model's window.",
  budget_passed: "The answer used more than its budget.",
  budget_unknown: "Nobody knows what some models used of the budget.",
  aggregated_alone: "The aggregator answered without any proposal.",
};

/** Whether a proposer was asked for this answer. */
export const wasAsked = (call) => call.status !== "skipped" && !call.reused;

/** Calls, tokens, cost and time in one line. */
export function summary(moa, usage, elapsed) {
  const scouts = Object.keys(moa.gate?.usage ?? {}).length;
  const proposers = moa.layers.flat().filter(wasAsked).length;
  const calls = count(proposers + scouts + (moa.steps?.length ?? 0) + (moa.aggregator ? 1 : 0), "call");
  const unpriced = moa.cost?.unpriced.length ? [`no price: ${moa.cost.unpriced.join(", ")}`] : [];
  return [calls, ...tokens(usage), ...dollars(moa.cost?.total), ...unpriced, seconds(elapsed)].join(" · ");
}

/** Tokens of one call, and its cost if it is known. */
export const bill = ({ usage, cost }) => [...tokens(usage), ...dollars(cost)].join(" · ");

/** The calls between the proposals and the answer, a line each. */
export function steps(moa) {
  const inLine = (call) => [call.step, call.model, seconds(call.seconds), bill(call), sentence(call.error)];
  return (moa.steps ?? []).map((call) => inLine(call).filter(Boolean).join(" · "));
}

function tokens(usage) {
  return usage ? [`${count(usage.input_tokens, "token")} in`, `${usage.output_tokens.toLocaleString("en")} out`] : [];
}

const dollars = (amount) => ((amount ?? null) === null ? [] : [`$${Number(amount.toPrecision(3))}`]);

/** The proposer whose text is the answer, and why; nothing when the aggregator wrote it. */
export function chosen({ selected, vote }) {
  if (selected) return { proposer: selected.proposer, why: `selected from ${selected.proposer}: ${selected.reason}` };
  if (!vote?.proposer) return undefined;
  const most = Object.entries(vote.votes).sort(([, one], [, other]) => other - one);
  const votes = most.map(([answer, number]) => `${answer} (${number})`);
  return { proposer: vote.proposer, why: `by vote, from ${vote.proposer}: ${votes.join(", ")}` };
}

/** What was less than asked for, a sentence each; a proposer's card tells of the proposer itself. */
export function notes({ degraded }, finishReason) {
  const sentences = degraded.filter(({ reason }) => !reason.startsWith("proposer_")).map(inWords);
  if (finishReason === "length") {
    sentences.push("The answer was cut off: it reached the most tokens that the aggregator may write.");
  }
  return [...new Set(sentences)];
}

function inWords({ reason, model, error, skipped }) {
  if (reason === "budget_reached") return `The budget is reached: ${skipped.replace("_", " ")} was left out.`;
  if (reason === "aggregator_failed" || reason === "judge_failed") {
    return `The ${reason.split("_")[0]} ${model} failed, and the next one took over. ${sentence(error)}`;
  }
  return [INSTEAD[reason] ?? reason, sentence(error)].filter(Boolean).join(" ");
}

/** The aggregator's analysis of the proposals as Markdown, or nothing. */
export function analysis(moa) {
  const points = Object.entries(moa.analysis ?? {}).filter(([, found]) => found.length);
  return points.map(([name, found]) => `**${title(name)}**\n\n${found.map(item).join("\n")}`).join("\n\n");
}

const title = (name) => (name[0].toUpperCase() + name.slice(1)).replace("_", " ");

const item = (text) => `- ${text.replaceAll("\n", " ")}`;
