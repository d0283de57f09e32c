// The official openai client against the second door. node openai_story.js URL TOKEN; JSON out.
const OpenAI = require('openai').default;

const [url, token] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url + '/v1', apiKey: token, maxRetries: 0 });
const messages = [{ role: 'user', content: 'hi' }];

(async () => {
  const out = {};
  out.embedding = (await client.embeddings.create({ model: 'emb', input: 'a' })).data[0].embedding;
  out.chat = (await client.chat.completions.create({ model: 'chat', messages })).choices[0].message.content;
  out.streamed = '';
  for await (const c of await client.chat.completions.create({ model: 'chat', messages, stream: true }))
    out.streamed += (c.choices[0] && c.choices[0].delta.content) || '';
  // The client's own helper puts fragments together, and refuses those that lack something.
  const tools = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object' } } }];
  const chats = client.chat.completions.stream ? client.chat.completions : client.beta.chat.completions;
  const whole = await chats.stream({ model: 'chat', messages, tools }).finalChatCompletion();
  out.call = whole.choices[0].message.tool_calls[0].function;
  out.models = [];
  for await (const m of client.models.list()) out.models.push(m.id);
  try {
    await client.embeddings.create({ model: 'nope', input: 'a' });
  } catch (e) {
    out.error = [e.status, e.code];
  }
  console.log(JSON.stringify(out));
})();
