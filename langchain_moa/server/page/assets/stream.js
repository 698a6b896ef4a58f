// One run of a mixture, as the server tells of it.

import { request, ServerError } from "./api.js";

/** Ask, and yield what happens inside: plain data, with its name as `event`. Throws unless it ends with `end`. */
export async function* run(model, messages, signal) {
  const response = await request("inside", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model, messages }),
    signal,
  });
  for await (const event of eventsOf(response.body)) {
    if (event.event === "error") throw new ServerError(event.error.message);
    yield event;
    if (event.event === "end") return;
  }
  throw new ServerError("The connection was lost before the answer was complete.");
}

/** Parse server-sent events whose one line of `data:` is JSON; comments only keep the connection open. */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(connectionLost);
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      if (block.startsWith("data: ")) yield JSON.parse(block.slice("data: ".length));
    }
  }
}

function connectionLost(error) {
  if (error.name === "AbortError") throw error;
  return { done: true };
}
