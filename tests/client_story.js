// Drives a server with the official JavaScript clients; run by test_41_js_client.py.
//     node client_story.js URL PASSWORD es8|es9     one JSON line per step: {step, ok, why}
'use strict'
const assert = require('node:assert')
const { readFileSync } = require('node:fs')
const { join } = require('node:path')

const [url, password, name] = process.argv.slice(2)
const { Client, errors } = require(name)
const KEY = 'sk-S3CRET-js'
const client = new Client({ node: url, auth: { username: 'elastic', password } })
const inf = client.inference
const steps = {}

// The data of a stream's events, read as text arrives.
async function events (stream) {
  let text = ''
  stream.setEncoding('utf8')
  for await (const part of stream) text += part
  return text.split('\n\n').filter(Boolean).map(block => {
    const match = /^event: (message|error)\ndata: (.*)$/.exec(block)
    assert.ok(match, block)
    return match[2] === '[DONE]' ? '[DONE]' : JSON.parse(match[2])
  })
}

async function fails (status, type, call) {
  try {
    await call()
  } catch (e) {
    assert.ok(e instanceof errors.ResponseError, String(e))
    assert.strictEqual(e.statusCode, status)
    assert.strictEqual(e.body.error.type, type)
    return e
  }
  assert.fail('nothing was refused')
}

steps.info = async () => {
  const body = await client.info()
  assert.strictEqual(body.tagline, 'You Know, for Search')
  assert.strictEqual(await client.ping(), true)
}
steps.cluster = async () => {
  assert.strictEqual((await client.cluster.health()).status, 'green')
  assert.strictEqual((await client.license.get()).license.status, 'active')
  assert.ok((await client.xpack.info()).features.inference.available)
  assert.strictEqual((await client.xpack.usage()).ml.available, true)
  assert.strictEqual(Object.keys((await client.nodes.info()).nodes).length, 1)
}
steps.sniffing = async () => {
  const sniffer = new Client({ node: url, auth: { username: 'elastic', password }, sniffOnStart: true })
  await sniffer.info()
  await sniffer.close()
}
steps.credentials = async () => {
  const other = new Client({ node: url, auth: { username: 'elastic', password: 'wrong' } })
  await fails(401, 'security_exception', () => other.info())
  await other.close()
}
steps.put = async () => {
  const made = await inf.put({
    task_type: 'completion',
    inference_id: 'generic',
    inference_config: { service: 'openai', service_settings: { api_key: KEY, model_id: 'm' } }
  })
  assert.strictEqual(made.service_settings.rate_limit.requests_per_minute, 500)
}
steps.putOpenai = async () => {
  for (const [task, id] of [['text_embedding', 'o-embed'], ['completion', 'o-chat'], ['chat_completion', 'o-unified']]) {
    const made = await inf.putOpenai({
      task_type: task,
      openai_inference_id: id,
      service: 'openai',
      service_settings: { api_key: KEY, model_id: 'gpt-4o' }
    })
    assert.strictEqual(made.inference_id, id)
  }
}
steps.putCohere = async () => {
  await inf.putCohere({
    task_type: 'rerank',
    cohere_inference_id: 'c-rank',
    service: 'cohere',
    service_settings: { api_key: KEY, model_id: 'm' },
    task_settings: { return_documents: true }
  })
}
steps.putHuggingFace = async () => {
  for (const [task, path] of [['text_embedding', '/embed'], ['sparse_embedding', '/sparse']]) {
    await inf.putHuggingFace({
      task_type: task,
      huggingface_inference_id: 'h-' + task,
      service: 'hugging_face',
      service_settings: { api_key: KEY, url: 'https://x.example/hf' + path }
    })
  }
}
steps.putElasticsearch = async () => {
  const e = await fails(404, 'resource_not_found_exception', () => inf.putElasticsearch({
    task_type: 'text_embedding',
    elasticsearch_inference_id: 'local',
    service: 'elasticsearch',
    service_settings: { model_id: 'no-such-model', num_threads: 1, num_allocations: 1 }
  }))
  assert.match(e.message, /no-such-model/)
}
steps.get = async () => {
  const all = (await inf.get()).endpoints.map(e => e.inference_id)
  assert.deepStrictEqual(all, [...all].sort())
  assert.ok(all.includes('o-embed') && all.includes('c-rank'))
  const one = await inf.get({ task_type: 'rerank', inference_id: 'c-rank' })
  assert.deepStrictEqual(one.endpoints[0].task_settings, { return_documents: true })
}
steps.textEmbedding = async () => {
  const a = await inf.textEmbedding({ inference_id: 'o-embed', input: ['a', 'b'] })
  assert.strictEqual(a.text_embedding.length, 2)
  assert.strictEqual(a.text_embedding[0].embedding.length, 8)
}
steps.sparseEmbedding = async () => {
  const a = await inf.sparseEmbedding({ inference_id: 'h-sparse_embedding', input: 'the wish' })
  assert.deepStrictEqual(Object.keys(a.sparse_embedding[0].embedding).sort(), ['the', 'wish'])
}
steps.rerank = async () => {
  const a = await inf.rerank({ inference_id: 'c-rank', query: 'the moon', input: ['x', 'the moon'] })
  assert.deepStrictEqual(a.rerank.map(r => r.text), ['the moon', 'x'])
}
steps.completion = async () => {
  const a = await inf.completion({ inference_id: 'o-chat', input: 'hi', timeout: '20s' })
  assert.deepStrictEqual(a.completion, [{ result: 'Echo: hi' }])
}
steps.inference = async () => {
  const a = await inf.inference({ inference_id: 'o-embed', input: 'a' })
  assert.ok(a.text_embedding)
}
steps.streamCompletion = async () => {
  const stream = await inf.streamCompletion({ inference_id: 'o-chat', input: 'one two' }, { asStream: true })
  const all = await events(stream)
  assert.strictEqual(all.pop(), '[DONE]')
  assert.strictEqual(all.flatMap(e => e.completion.map(d => d.delta)).join(''), 'Echo: one two')
}
steps.chatCompletionUnified = async () => {
  const ask = {
    messages: [{ role: 'user', content: 'Paris?' }],
    tools: [{ type: 'function', function: { name: 'weather', parameters: { type: 'object' } } }]
  }
  const call = name === 'es9'
    ? { inference_id: 'o-unified', ...ask, chat_completion_request: ask }
    : { inference_id: 'o-unified', chat_completion_request: ask }
  if (name === 'es9') for (const k of Object.keys(ask)) delete call[k]
  const all = await events(await inf.chatCompletionUnified(call, { asStream: true }))
  assert.strictEqual(all.pop(), '[DONE]')
  const calls = all.flatMap(e => e.choices).flatMap(c => c.delta.tool_calls ?? [])
  assert.strictEqual(calls[0].function.name, 'weather')
  assert.deepStrictEqual(JSON.parse(calls.map(c => c.function.arguments).join('')), { city: 'Paris' })
}
steps.stopsListening = async () => {
  const stream = await inf.streamCompletion({ inference_id: 'o-chat', input: 'one two three' }, { asStream: true })
  stream.on('error', () => {})
  stream.destroy()
  assert.strictEqual((await client.info()).tagline, 'You Know, for Search')
}
steps.update = async () => {
  const made = await inf.update({
    inference_id: 'c-rank',
    inference_config: { task_settings: { top_n: 1 }, service_settings: { api_key: KEY } }
  })
  assert.deepStrictEqual(made.task_settings, { return_documents: true, top_n: 1 })
}
steps.deleting = async () => {
  const dry = await inf.delete({ inference_id: 'generic', dry_run: true })
  assert.strictEqual(dry.acknowledged, false)
  assert.strictEqual((await inf.delete({ inference_id: 'generic' })).acknowledged, true)
  await fails(404, 'resource_not_found_exception', () => inf.get({ inference_id: 'generic' }))
}
steps.errors = async () => {
  await fails(400, 'validation_exception', () => inf.putOpenai({
    task_type: 'completion',
    openai_inference_id: 'bad',
    service: 'openai',
    service_settings: { model_id: 'm' }
  }))
  await fails(400, 'action_request_validation_exception',
    () => inf.rerank({ inference_id: 'c-rank', query: '', input: ['x'] }))
}
steps.compression = async () => {
  const packed = new Client({ node: url, auth: { username: 'elastic', password }, compression: true })
  const a = await packed.inference.completion({ inference_id: 'o-chat', input: 'x'.repeat(5000) })
  assert.strictEqual(a.completion[0].result, 'Echo: ' + 'x'.repeat(5000))
  await packed.close()
}
steps.together = async () => {
  const texts = Array.from({ length: 40 }, (_, i) => 'text ' + i)
  const answers = await Promise.all(texts.map(input => inf.textEmbedding({ inference_id: 'o-embed', input })))
  assert.strictEqual(new Set(answers.map(a => JSON.stringify(a))).size, 40)
}

steps.updateNamesItsService = async () => {
  const made = await inf.update({
    inference_id: 'c-rank',
    inference_config: { service: 'cohere', service_settings: {}, task_settings: { top_n: 2 } }
  })
  assert.strictEqual(made.task_settings.top_n, 2)
}
steps.trainedModel = async () => {
  const folder = join(__dirname, 'fixtures', 'models', 'eland_tiny', 'bert_text_classification')
  const json = file => JSON.parse(readFileSync(join(folder, file), 'utf8'))
  const definition = readFileSync(join(folder, 'model.pt'))
  const ml = client.ml
  const made = await ml.putTrainedModel({ model_id: 'tiny', ...json('config.json') })
  assert.strictEqual(made.model_id, 'tiny')
  await ml.putTrainedModelDefinitionPart({
    model_id: 'tiny',
    part: 0,
    definition: definition.toString('base64'),
    total_definition_length: definition.length,
    total_parts: 1
  })
  await ml.putTrainedModelVocabulary({ model_id: 'tiny', ...json('vocabulary.json') })
  const started = await ml.startTrainedModelDeployment({ model_id: 'tiny', wait_for: 'started', timeout: '20s' })
  assert.strictEqual(started.assignment.assignment_state, 'started')
  const docs = [{ text_field: 'a' }, { text_field: 'b' }]
  const answer = await ml.inferTrainedModel({ model_id: 'tiny', docs })
  assert.strictEqual(answer.inference_results.length, 2)
  const stats = await ml.getTrainedModelsStats({ model_id: 'tiny' })
  assert.strictEqual(stats.trained_model_stats[0].deployment_stats.inference_count, 2)
  await fails(409, 'status_exception', () => ml.deleteTrainedModel({ model_id: 'tiny' }))
  assert.strictEqual((await ml.stopTrainedModelDeployment({ model_id: 'tiny' })).stopped, true)
  await ml.deleteTrainedModel({ model_id: 'tiny' })
  await fails(404, 'resource_not_found_exception', () => ml.getTrainedModels({ model_id: 'tiny' }))
}
steps.apiKeys = async () => {
  const limits = { requests_per_minute: 1 }
  const key = await client.security.createApiKey({
    name: 'js',
    expiration: '1h',
    role_descriptors: { r: { cluster: ['monitor_inference'], metadata: { inferd: { limits } } } }
  })
  const mine = new Client({ node: url, auth: { apiKey: key.encoded }, maxRetries: 0 })
  const ask = () => mine.inference.completion({ inference_id: 'o-chat', input: 'hi' })
  await ask()
  await fails(429, 'es_rejected_execution_exception', ask)
  await fails(403, 'security_exception', () => mine.inference.delete({ inference_id: 'o-chat' }))
  const shown = await client.security.getApiKey({ id: key.id, with_limited_by: true })
  assert.strictEqual(shown.api_keys[0].name, 'js')
  await client.security.invalidateApiKey({ ids: [key.id] })
  await fails(401, 'security_exception', ask)
  await mine.close()
}
steps.users = async () => {
  const { security } = client
  await security.putRole({ name: 'asker', cluster: ['monitor_inference'] })
  await security.putUser({ username: 'js-user', password: 'pw-S3CRET-js', roles: ['asker'] })
  const user = new Client({ node: url, auth: { username: 'js-user', password: 'pw-S3CRET-js' } })
  assert.deepStrictEqual((await user.security.authenticate()).roles, ['asker'])
  await fails(403, 'security_exception', () => user.security.getUser())
  await user.close()
  assert.strictEqual((await security.deleteUser({ username: 'js-user' })).found, true)
  assert.strictEqual((await security.deleteRole({ name: 'asker' })).found, true)
}

async function main () {
  for (const [step, run] of Object.entries(steps)) {
    try {
      await run()
      console.log(JSON.stringify({ step, ok: true }))
    } catch (e) {
      console.log(JSON.stringify({ step, ok: false, why: String(e && e.stack).slice(0, 1500) }))
    }
  }
  await client.close()
}
main()
