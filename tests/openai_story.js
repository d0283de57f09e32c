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
  out.models = [];
  for await (const m of client.models.list()) out.models.push(m.id);
  try {
    await client.embeddings.create({ model: 'nope', input: 'a' });
  } catch (e) {
    out.error = [e.status, e.code];
  }
  console.log(JSON.stringify(out));
})();
