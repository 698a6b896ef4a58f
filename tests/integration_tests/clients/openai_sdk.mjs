// OpenAI's SDK for JavaScript: node openai_sdk.mjs http://127.0.0.1:8000/v1
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "any", maxRetries: 0 });
const asked = { model: "moa-1", input: "Say something short." };
const weather = {
  type: "function",
  name: "weather",
  strict: true,
  parameters: {
    type: "object",
    properties: { city: { type: "string" } },
    required: ["city"],
    additionalProperties: false,
  },
};

const whole = await client.responses.create(asked);
assert.equal(whole.output_text, "You said: Say something short.");
assert.equal(whole.usage.total_tokens, 54);

let text = "";
for await (const event of await client.responses.create({ ...asked, stream: true })) {
  if (event.type === "response.output_text.delta") text += event.delta;
}
assert.equal(text, whole.output_text);

const format = zodTextFormat(z.object({ setup: z.string() }), "joke");
const parsed = await client.responses.parse({ ...asked, text: { format } });
assert.deepEqual(parsed.output_parsed, { setup: "a value" });

const called = await client.responses.stream({ ...asked, tools: [weather] }).finalResponse();
const [call] = called.output;
assert.deepEqual(JSON.parse(call.arguments), { city: "a value" });
const result = { type: "function_call_output", call_id: call.call_id, output: "Sunny." };
const input = [{ role: "user", content: asked.input }, ...called.output, result];
const after = await client.responses.create({ model: "moa-1", input, tools: [weather] });
assert.match(after.output_text, /^You said: /);

await assert.rejects(client.responses.create({ ...asked, previous_response_id: "resp_1" }), {
  status: 400,
  param: "previous_response_id",
});
console.log("passed");
