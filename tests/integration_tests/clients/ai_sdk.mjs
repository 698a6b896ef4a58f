// The AI SDK, whose OpenAI provider asks the Responses API: node ai_sdk.mjs http://127.0.0.1:8000/v1
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const model = createOpenAI({ baseURL: process.argv[2], apiKey: "any" })("moa-1");
const prompt = "Say something short.";
const said = "You said: Say something short.";

const whole = await generateText({ model, prompt, system: "Be kind." });
assert.equal(whole.text, said);
assert.equal(whole.usage.totalTokens, 54);
assert.deepEqual(whole.warnings, []);

const streamed = streamText({ model, prompt });
let text = "";
for await (const delta of streamed.textStream) text += delta;
assert.equal(text, said);
assert.equal(await streamed.finishReason, "stop");

const output = Output.object({ schema: z.object({ setup: z.string() }) });
assert.deepEqual((await generateText({ model, prompt, output })).output, { setup: "a value" });

const weather = tool({
  description: "The weather in a city",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `Sunny in ${city}.`,
});
const agent = { model, prompt, tools: { weather }, stopWhen: stepCountIs(3) };
const loop = await generateText(agent);
assert.equal(loop.steps.length, 2);
assert.equal(loop.steps[0].toolResults[0].output, "Sunny in a value.");
assert.match(loop.text, /^You said: /);
const streamedLoop = streamText(agent);
assert.match(await streamedLoop.text, /^You said: /);
assert.equal((await streamedLoop.steps).length, 2);

// By default the SDK sends only the ids of earlier answers, which nobody stored.
const messages = [{ role: "user", content: "One" }, ...whole.response.messages, { role: "user", content: "Two" }];
await assert.rejects(generateText({ model, messages, maxRetries: 0 }), /providerOptions: \{ openai: \{ store: false/);
const openai = { store: false };
assert.equal((await generateText({ model, messages, providerOptions: { openai } })).text, "You said: Two");
console.log("passed");
