// The cookbook's flow with openai-node; prints the answer of the tuned model as JSON.
import { createReadStream } from "node:fs";
import { createRequire } from "node:module";
const [, , modules, baseURL, apiKey, path] = process.argv;
const { OpenAI } = createRequire(`${modules}/x.js`)("openai");
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const file = await client.files.create({ file: createReadStream(path), purpose: "fine-tune" });
const hyperparameters = { n_epochs: 1, batch_size: 4 };
const method = { type: "supervised", supervised: { hyperparameters } };
let job = await client.fineTuning.jobs.create({ model: "builtin/tiny", training_file: file.id, seed: 3, method });
while (!["succeeded", "failed", "cancelled"].includes(job.status)) {
  await new Promise((done) => setTimeout(done, 200));
  job = await client.fineTuning.jobs.retrieve(job.id);
}
const events = await client.fineTuning.jobs.listEvents(job.id, { limit: 100 });
const messages = [{ role: "user", content: "I smile" }];
let streamed = 0;
for await (const chunk of await client.chat.completions.create({ model: job.fine_tuned_model, messages, max_tokens: 8, stream: true })) {
  if (chunk.model === job.fine_tuned_model) streamed += 1;
}
console.log(JSON.stringify({ status: job.status, events: events.data.length, streamed }));
