// Node's own clients: fetch, https and http2.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';

const told = JSON.parse(readFileSync(0, 'utf8'));
const { url, file_bytes: fileBytes } = told;
const ca = readFileSync(told.ca);
const key = { 'x-api-key': told.key };
const big = Buffer.alloc(1 << 20, 'keygate ');
const sha256 = (content) => createHash('sha256').update(content).digest('hex');

function checkEcho(said, method, content = '') {
  assert.deepEqual([said.method, said.sha256], [method, sha256(content)]);
  assert.ok(!JSON.stringify(said).includes(told.key));
  assert.ok(said.fields.some(([name, value]) => name.toLowerCase() === 'x-keygate-key-id' && value === 'alice'));
}

/** One request over https; its status and its content. */
function ask(options, content) {
  return new Promise((resolve, reject) => {
    const request = https.request(url + options.path, { ca, agent: options.agent, method: options.method, headers: options.headers ?? key }, async (answer) => {
      const parts = [];
      for await (const part of answer) parts.push(part);
      resolve({ status: answer.statusCode, content: Buffer.concat(parts), trailers: answer.trailers });
    });
    request.on('error', reject);
    request.end(content);
  });
}

/** One request over HTTP/2. */
function stream(session, fields, content) {
  return new Promise((resolve, reject) => {
    const request = session.request({ ...key, ...fields }, { endStream: content === undefined });
    const parts = [];
    let head, trailers;
    request.on('response', (fields) => (head = fields));
    request.on('trailers', (fields) => (trailers = fields));
    request.on('data', (part) => parts.push(part));
    request.on('error', reject);
    request.on('end', () => resolve({ status: head[':status'], head, trailers, content: Buffer.concat(parts) }));
    if (content !== undefined) request.end(content);
  });
}

async function withSession(use) {
  const session = http2.connect(url, { ca });
  try {
    return await use(session);
  } finally {
    session.close();
  }
}

const CASES = {
  async fetch_gets_along() {
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      checkEcho(await (await fetch(`${url}/echo`, { method, headers: key })).json(), method);
    }
    checkEcho(await (await fetch(`${url}/echo`, { method: 'POST', headers: key, body: big })).json(), 'POST', big);
    const form = new FormData();
    form.set('file', new Blob([big]), 'name');
    assert.ok((await (await fetch(`${url}/echo`, { method: 'POST', headers: key, body: form })).json()).bytes > big.length);
    assert.equal((await (await fetch(`${url}/file`, { headers: key })).arrayBuffer()).byteLength, fileBytes);
    assert.equal(await (await fetch(`${url}/squeezed`, { headers: key })).text(), 'squeezed'.repeat(500));
    assert.equal(await (await fetch(`${url}/until-the-end`, { headers: key })).text(), 'all of it');
    assert.equal((await fetch(`${url}/nothing`, { headers: key })).status, 204);
    checkEcho(await (await fetch(`${url}/moved`, { headers: key })).json(), 'GET');
    assert.deepEqual((await fetch(`${url}/cookies`, { headers: key })).headers.getSetCookie().length, 2);
  },

  async fetch_streams_both_ways() {
    const encoder = new TextEncoder();
    let number = 0;
    const body = new ReadableStream({
      pull(controller) {
        if (number === 500) controller.close();
        else controller.enqueue(encoder.encode('part'.repeat(100))), (number += 1);
      },
    });
    const answer = await fetch(`${url}/echo`, { method: 'POST', headers: key, body, duplex: 'half' });
    checkEcho(await answer.json(), 'POST', 'part'.repeat(50_000));
    let text = '';
    for await (const part of (await fetch(`${url}/parts`, { headers: key })).body) {
      text += Buffer.from(part).toString();
    }
    assert.equal(text, 'one\ntwo\nthree\n');
  },

  async fetch_is_refused_and_gives_up() {
    for (const headers of [{}, { 'x-api-key': 'nobody' }]) {
      const answer = await fetch(`${url}/echo`, { headers });
      assert.equal(answer.status, 401);
      assert.equal(answer.headers.get('content-type'), 'application/problem+json');
      assert.ok(['credentials_missing', 'key_unknown'].includes((await answer.json()).code));
    }
    await assert.rejects(fetch(`${url}/slow`, { headers: key, signal: AbortSignal.timeout(500) }), { name: 'TimeoutError' });
    checkEcho(await (await fetch(`${url}/echo`, { headers: key })).json(), 'GET');
  },

  async fetch_asks_for_sixty_pages_at_once() {
    const pages = await Promise.all(Array.from({ length: 60 }, async (_, number) => {
      const answer = await fetch(`${url}/file?${number}`, { headers: key });
      return [answer.status, (await answer.arrayBuffer()).byteLength];
    }));
    assert.ok(pages.every(([status, bytes]) => status === 200 && bytes === fileBytes), JSON.stringify(pages));
  },

  async https_keeps_its_connection_and_reads_trailers() {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca });
    checkEcho(JSON.parse((await ask({ path: '/echo', method: 'POST', agent }, big)).content), 'POST', big);
    const parts = await ask({ path: '/parts', agent, headers: { ...key, te: 'trailers', connection: 'te, keep-alive' } });
    assert.equal(parts.content.toString(), 'one\ntwo\nthree\n');
    assert.deepEqual({ ...parts.trailers }, { 'x-sum': '14' });
    assert.equal((await ask({ path: '/echo', agent, headers: {} })).status, 401);
    agent.destroy();
  },

  async http2_gets_along() {
    await withSession(async (session) => {
      checkEcho(JSON.parse((await stream(session, { ':path': '/echo' })).content), 'GET');
      const posted = await stream(session, { ':path': '/echo', ':method': 'POST' }, big);
      checkEcho(JSON.parse(posted.content), 'POST', big);
      const parts = await stream(session, { ':path': '/parts', te: 'trailers' });
      assert.equal(parts.content.toString(), 'one\ntwo\nthree\n');
      assert.equal(parts.trailers['x-sum'], '14');
      const pages = await Promise.all(Array.from({ length: 200 }, (_, number) => stream(session, { ':path': `/file?${number}` })));
      assert.ok(pages.every((page) => page.status === 200 && page.content.length === fileBytes));
      assert.equal((await stream(session, { ':path': '/echo', 'x-api-key': 'nobody' })).status, 401);
    });
  },

  async http2_hears_that_an_upload_is_refused() {
    // Node holds ten megabytes for a session and no more; what it cannot send stays with the first.
    const large = Buffer.alloc(9 << 20);
    for (const [more, status] of [[{ 'x-api-key': 'nobody' }, 401], [{ 'content-length': large.length }, 413]]) {
      await withSession(async (session) => {
        const fields = { ':path': '/echo', ':method': 'POST', ...more };
        assert.equal((await stream(session, fields, large)).status, status);
      });
    }
  },

  async http2_cancels_one_stream_of_several() {
    await withSession(async (session) => {
      const slow = session.request({ ...key, ':path': '/slow' });
      slow.on('error', () => {});
      await new Promise((resolve) => setTimeout(resolve, 200));
      slow.close(http2.constants.NGHTTP2_CANCEL);
      checkEcho(JSON.parse((await stream(session, { ':path': '/echo' })).content), 'GET');
      await new Promise((resolve, reject) => session.ping((error) => (error ? reject(error) : resolve())));
    });
  },
};

const ended = {};
for (const [name, run] of Object.entries(CASES)) {
  try {
    await run();
    ended[name] = null;
  } catch (error) {
    ended[name] = `${error?.stack} ${error?.cause ?? ''}`;
  }
}
process.stdout.write(JSON.stringify(ended), () => process.exit(0));
