// LangChain.js, with the Responses API: node langchain_js.mjs http://127.0.0.1:8000/v1
import assert from "node:assert/strict";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";

const configuration = { baseURL: process.argv[2] };
const model = new ChatOpenAI({ model: "moa-1", useResponsesApi: true, apiKey: "any", configuration, maxRetries: 0 });
const question = new HumanMessage("Say something short.");
const weather = { name: "weather", description: "The weather in a city", schema: z.object({ city: z.string() }) };

async function sum(stream) {
  let message;
  for await (const chunk of stream) message = message ? message.concat(chunk) : chunk;
  return message;
}

const whole = await model.invoke([question]);
assert.equal(whole.text, "You said: Say something short.");
assert.equal(whole.usage_metadata.total_tokens, 54);
assert.equal((await sum(await model.stream([question]))).text, whole.text);
assert.equal((await model.invoke([question, whole, new HumanMessage("Two")])).text, "You said: Two");

const structured = model.withStructuredOutput(z.object({ setup: z.string() }), { name: "joke" });
assert.deepEqual(await structured.invoke([question]), { setup: "a value" });

const agent = model.bindTools([weather]);
for (const called of [await agent.invoke([question]), await sum(await agent.stream([question]))]) {
  const [call] = called.tool_calls;
  assert.deepEqual([call.name, call.args], ["weather", { city: "a value" }]);
  const result = new ToolMessage({ content: "Sunny.", tool_call_id: call.id });
  assert.match((await agent.invoke([question, called, result])).text, /^You said: /);
}
console.log("passed");
