// What a script does with Node's fetch: all kinds of calls.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer } from "node:http";

const [base, digest] = process.argv.slice(2);

// The only one of the headers of a browser that Node sends too, and alone.
const mirror = createServer((request, answer) => answer.end(JSON.stringify(request.headers)));
await new Promise(done => mirror.listen(0, "127.0.0.1", done));
for (const method of ["GET", "POST"]) {
  const sent = await (await fetch(`http://127.0.0.1:${mirror.address().port}`, { method })).json();
  assert.equal(sent["sec-fetch-mode"], "cors");
  assert.deepEqual(Object.keys(sent).filter(name => /^(origin|sec-fetch-(?!mode))/.test(name)), []);
}
mirror.closeAllConnections();
mirror.close();

const grant = new URLSearchParams({ grant_type: "password", username: "me", password: "of-no-use" });
const login = await fetch(`${base}/api/token`, { method: "POST", body: grant });
const { access_token: token } = await login.json();
const call = async (path, options = {}) => {
  const headers = { authorization: `Bearer ${token}`, ...options.headers };
  return await fetch(base + path, { ...options, headers });
};

for (let nth = 0; nth < 50; nth++) {
  assert.equal((await (await call("/api/auth/me")).json()).Email, "ada@example.test");
}

const json = { "content-type": "application/json" };
const posted = await call("/api/echo", { method: "POST", body: '{"name":"Zoë"}', headers: json });
const echo = await posted.json();
assert.deepEqual([echo.method, echo.body], ["POST", '{"name":"Zoë"}']);

const head = await call("/ContentDownload/x?bytes=1234", { method: "HEAD" });
assert.equal(head.headers.get("content-length"), "1234");
assert.equal((await head.arrayBuffer()).byteLength, 0);

const gone = await (await call("/api/echo", { method: "DELETE", body: "why" })).json();
assert.deepEqual([gone.method, gone.body], ["DELETE", "why"]);

const body = new Uint8Array(3_000_000).fill(7);
const pieces = new ReadableStream({
  start(controller) {
    for (let at = 0; at < body.length; at += 50_000) controller.enqueue(body.slice(at, at + 50_000));
    controller.close();
  },
});
for (const options of [{ body }, { body: pieces, duplex: "half" }]) {
  const arrived = await (await call("/api/echo", { method: "PUT", ...options })).json();
  assert.equal(arrived.body_length, body.length);
}

const seen = createHash("sha256");
const download = await call("/ContentDownload/x?bytes=8000000");
for await (const piece of download.body) seen.update(piece);
assert.equal(seen.digest("hex"), digest);

const packed = await call("/api/spaces/packed");
assert.equal(packed.headers.get("content-encoding"), "gzip");
assert.ok(await packed.json());

const moved = await call("/moved");
assert.equal(moved.url, `${base}/api/auth/me`);
assert.ok(moved.redirected);
assert.equal((await moved.json()).Email, "ada@example.test");
