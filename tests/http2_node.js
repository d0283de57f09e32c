// A service that speaks HTTP/2, by Node: chat completions that echo. Arguments: port, key, certificate, streams at
// once on a connection, and how long the server lives (milliseconds; 0: for ever) before it ends some connections
// with a goodbye, breaks the others and starts again.
'use strict';
const http2 = require('http2'), fs = require('fs');
const [port, key, cert, maxConcurrentStreams, life] = process.argv.slice(2).map((a, i) => i === 1 || i === 2 ? a : +a);

function answer(body, res) {
  let text = 'Echo: ' + body.messages[0].content;
  const choice = more => JSON.stringify({ choices: [{ index: 0, finish_reason: null, ...more }] });
  if (!body.stream) {
    res.setHeader('content-type', 'application/json');
    return res.end(choice({ message: { role: 'assistant', content: text } }));
  }
  res.setHeader('content-type', 'text/event-stream');
  for (let n; text.length; text = text.slice(n)) {
    n = 1 + Math.floor(Math.random() * text.length);
    res.write(`data: ${choice({ delta: { content: text.slice(0, n) } })}\n\n`);
  }
  res.end('data: [DONE]\n\n');
}

function listen() {
  const sessions = new Set(), options = { key: fs.readFileSync(key), cert: fs.readFileSync(cert),
    settings: { maxConcurrentStreams } };
  const server = http2.createSecureServer(options, (req, res) => {
    const parts = [];
    for (const of of [req, res]) of.on('error', () => {});
    req.on('data', part => parts.push(part));
    req.on('end', () => setTimeout(() => answer(JSON.parse(Buffer.concat(parts)), res), Math.random() * 10));
  });
  server.on('session', session => {
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => {});
  });
  for (const event of ['sessionError', 'tlsClientError']) server.on(event, () => {});
  server.listen(port, '127.0.0.1', () => console.log('listening'));
  if (life) setTimeout(() => {
    server.close(listen);
    for (const session of sessions) Math.random() < 0.5 ? session.close() : session.destroy();
  }, life);
}
process.on('uncaughtException', () => {}); // of streams that are gone
listen();
