// What other pages, names and texts can do to the page: nothing. The attacks, and the test of each (R: in Rust,
// `tests/cli/ui.rs` and `src/cli/ui/gate.rs`):
//
// - rebinding by host name: "a name that was bound to this machine …"
// - a page at another port of this machine, with and without the token; an iframe; a form's POST; a script
//   tag; an opener: "a page at another port of this machine …"
// - a sandboxed frame, whose origin is `null`: "a frame without an origin …", R `only_this_page_is_answered`
// - another user: R `another_user_gets_not_even_the_page`
// - a used code, and the token in history, referrer, cookie or storage of others: "a link works once, …"
// - a late code: R `a_code_is_taken_once_and_for_a_minute`
// - guessing: "guessing ends, …", R `guessing_ends_after_five_wrong_codes`
// - script in path, header, client name, error text, daemon's answers; keys of objects that pollute: "no text of a
//   caller or of Nexudus …"
// - script and such keys in queries, bodies and Nexudus's answers, where these are shown: "what was captured …"
// - letters that turn a call around, and script in it: page.test.mjs, "a call that waits …"
// - routes beyond those of the page, and content without `--bodies`: R `a_form_changes_nothing_and_little_is_relayed`,
//   `content_is_shown_where_the_command_was_asked_for_it`
// - secrets in DOM, storage and traffic: "no secret, query value or body …", and "what was captured …" with `--bodies`

import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";

import { Stage, browser, openPage } from "./stage.mjs";

let stage;
let chrome;

before(async () => {
  stage = await Stage.start();
  // A name that leads to this machine, as after a rebinding.
  chrome = await browser("--host-resolver-rules=MAP evil.test 127.0.0.1");
});

after(async () => {
  await chrome?.close();
  await stage?.stop();
});

async function renewed() {
  await stage.endCommand();
  await stage.open();
}

/** Serves one page at a port of its own. */
function site(html) {
  return new Promise((resolve) => {
    const server = http.createServer((_, response) => {
      response.setHeader("content-type", "text/html");
      response.end(html);
    }).listen(0, "127.0.0.1", () => resolve({ server, port: server.address().port }));
  });
}

test("a name that was bound to this machine gets neither the page nor its data", async () => {
  await renewed();
  const page = await chrome.newPage();
  const port = new URL(stage.origin).port;
  for (const path of ["/", "/app.js", "/v1/status"]) {
    const response = await page.goto(`http://evil.test:${port}${path}`);
    assert.equal(response.status(), 421, path);
  }
  await page.close();
});

test("a page at another port of this machine reads nothing, changes nothing and frames nothing", async () => {
  await renewed();
  const own = await openPage(await chrome.newContext(), stage.link);
  const token = await own.evaluate(() => sessionStorage.getItem("nexudus-proxy-ui"));
  for (const host of ["127.0.0.1", "localhost"]) {
    const { server, port } = await site("<!doctype html><title>another page</title>");
    const page = await chrome.newPage();
    await page.goto(`http://${host}:${port}/`);
    // The worst case: the other page even knows the token.
    const told = await page.evaluate(async ({ origin, token }) => {
      const tried = async (path, options) => {
        try {
          const response = await fetch(origin + path, options);
          return `${response.type} ${response.status} ${(await response.text()).slice(0, 20)}`;
        } catch (error) {
          return error.name;
        }
      };
      const headers = { "Nexudus-Proxy-Ui": token };
      const frame = document.createElement("iframe");
      frame.src = origin;
      document.body.append(frame);
      await new Promise((resolve) => { frame.onload = resolve; setTimeout(resolve, 2000); });
      let framed = "blocked";
      try {
        framed = frame.contentDocument === null ? "blocked" : frame.contentDocument.title;
      } catch {
        framed = "blocked";
      }
      const form = document.createElement("form");
      form.method = "post";
      form.enctype = "text/plain";
      form.action = `${origin}/v1/clients`;
      const input = document.createElement("input");
      input.name = '{"action":"add","name":"evil","limits":{"read_only":false,"allow":[],"deny":[],"expires":null,"rate":null,"max_requests":null},"x":"';
      input.value = '"}';
      form.append(input);
      form.target = "answer";
      const answer = document.createElement("iframe");
      answer.name = "answer";
      document.body.append(answer, form);
      form.submit();
      const opened = window.open(origin);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      let reached = "severed";
      try {
        reached = opened?.document?.title ?? "severed";
      } catch {
        reached = "severed";
      }
      return {
        simple: await tried("/v1/status"),
        with_token: await tried("/v1/status", { headers }),
        opaque: await tried("/v1/status", { mode: "no-cors" }),
        post: await tried("/ui/session", { method: "POST", mode: "no-cors", body: '{"code":"x"}' }),
        script: await tried("/app.js", { mode: "no-cors" }),
        framed, reached,
      };
    }, { origin: stage.origin, token });
    for (const name of ["simple", "with_token", "opaque", "post", "script"]) {
      assert.ok(told[name] === "TypeError" || told[name].startsWith("opaque 0"), `${host} ${name}: ${told[name]}`);
    }
    assert.equal(told.framed, "blocked");
    assert.equal(told.reached, "severed");
    await page.close();
    server.close();
  }
  const clients = await own.evaluate(async () => (await import("/api.js")).get("/v1/clients"));
  assert.deepEqual(clients, []);
  await own.context().close();
});

test("a frame without an origin reads nothing and changes nothing", async () => {
  await renewed();
  const own = await openPage(await chrome.newContext(), stage.link);
  const token = await own.evaluate(() => sessionStorage.getItem("nexudus-proxy-ui"));
  const script = `const tried = async (path, options) => { try { const r = await fetch(${JSON.stringify(stage.origin)} + path, options); return r.type + " " + r.status + (await r.text()); } catch (e) { return e.name; } };
    (async () => { const headers = { "Nexudus-Proxy-Ui": ${JSON.stringify(token)} };
      parent.postMessage([self.origin, await tried("/v1/status", { headers }), await tried("/v1/status", { mode: "no-cors" }),
        await tried("/ui/session", { method: "POST", mode: "no-cors", body: "{}" })], "*"); })();`;
  const { server, port } = await site("<!doctype html><title>another page</title>");
  const page = await chrome.newPage();
  await page.goto(`http://127.0.0.1:${port}/`);
  const told = await page.evaluate((code) => new Promise((resolve) => {
    addEventListener("message", ({ data }) => resolve(data), { once: true });
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    frame.srcdoc = `<script>${code}</` + "script>";
    document.body.append(frame);
  }), script);
  assert.equal(told[0], "null");
  for (const answer of told.slice(1)) assert.ok(answer === "TypeError" || answer === "opaque 0", answer);
  await page.close();
  server.close();
  await own.context().close();
});

test("what was captured becomes no HTML and no property, and holds no secret", async () => {
  await stage.endCommand();
  await stage.open("--bodies");
  const context = await chrome.newContext();
  const page = await openPage(context, stage.link);
  const traffic = [];
  page.on("response", async (response) => {
    if (!response.url().includes("/v1/events")) traffic.push(await response.text().catch(() => ""));
  });
  await page.evaluate(() => { location.hash = "#/requests"; });
  const evil = "<img src=x onerror=alert(6)>";
  const json = (value) => ({ method: "POST", body: value, headers: { "content-type": "application/json", "content-length": Buffer.byteLength(value), "user-agent": evil, authorization: "Bearer marker-token", cookie: "a=marker-cookie" } });
  const body = `{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"Name":"${evil}","Description":"${evil}","FullName":"marker-person","Password":"marker-word"}`;
  await stage.ask(`/api/spaces/resources?__proto__[polluted]=1&__proto__=${encodeURIComponent(evil)}&${encodeURIComponent(evil)}=1&q=marker-query`, json(body));
  await stage.ask("/api/auth/me");
  await stage.ask("/api/token", { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" }, body: "grant_type=password&username=a&password=marker-form" });
  await page.waitForFunction(() => document.querySelectorAll(".spacer .row").length === 3);
  for (let row = 0; row < 3; row += 1) {
    await page.click(`.spacer .row >> nth=${row}`);
    await page.waitForSelector(".content p");
    traffic.push(await page.content());
  }
  assert.ok(traffic.join("").includes("onerror=alert(6)"), "what was sent is shown");
  // And an answer that a daemon could be made to give.
  const told = { request_id: 1, query: [{ name: evil, value: evil }, { name: "__proto__", value: "x" }],
    request: { headers: [{ name: evil, value: evil }], body: { text: evil, note: evil } }, response: { headers: [], body: { text: `{"__proto__":{"polluted":1},"a":"${evil}"}`, note: null } } };
  await page.route("**/v1/captures/*", (route) => route.fulfill({ contentType: "application/json", body: JSON.stringify(told).replace('{"request_id"', '{"__proto__":{"polluted":1},"request_id"') }));
  await page.click(".spacer .row >> nth=0");
  await page.waitForFunction((text) => document.querySelector(".content pre")?.textContent.includes(text), evil);
  const found = await page.evaluate(() => ({ polluted: {}.polluted, elements: document.querySelectorAll("main img, main script").length }));
  assert.deepEqual(found, { polluted: undefined, elements: 0 });
  assert.deepEqual(page.complaints, []);
  const kept = await page.evaluate(() => [JSON.stringify({ ...sessionStorage }), JSON.stringify({ ...localStorage }), document.documentElement.outerHTML]);
  assert.deepEqual([...traffic, ...kept].join("\n").match(/marker-[a-z]+/g) ?? [], []);
  await context.close();
});

test("a link works once, and neither the code nor the token is in the history or a referrer", async () => {
  await renewed();
  const code = stage.link.split("#code=")[1];
  const context = await chrome.newContext();
  const asked = [];
  context.on("request", (request) => asked.push(`${request.url()} ${JSON.stringify(request.headers())} ${request.postData() ?? ""}`));
  const page = await openPage(context, stage.link);
  const token = await page.evaluate(() => sessionStorage.getItem("nexudus-proxy-ui"));
  assert.equal(page.url(), `${stage.origin}/`);
  const session = await context.newCDPSession(page);
  const { entries } = await session.send("Page.getNavigationHistory");
  assert.ok(entries.every((entry) => !entry.url.includes(code) && !entry.url.includes(token)), JSON.stringify(entries));
  const urls = asked.map((line) => line.split(" ")[0]).join("\n");
  assert.ok(!urls.includes(code) && !urls.includes(token), urls);
  assert.equal(asked.filter((line) => line.includes(code)).length, 1, "the code is sent once, in a body");
  assert.deepEqual(asked.filter((line) => /"referer":"[^"]/i.test(line)), [], "no referrer");
  assert.deepEqual(await context.cookies(), []);
  assert.equal(await page.evaluate(() => localStorage.length), 0);

  const again = await (await chrome.newContext()).newPage();
  await again.goto(stage.link);
  await again.waitForSelector("[role=alert]:not(:empty)");
  assert.match(await again.textContent("main"), /wrong, used or older/);
  await again.context().close();
  await context.close();
});

test("guessing ends, and the right code is then worth nothing", async () => {
  await renewed();
  const code = stage.link.split("#code=")[1];
  const page = await (await chrome.newContext()).newPage();
  await page.goto(stage.origin);
  await page.waitForSelector("#code");
  for (const guess of ["1", "2", "3", "4", "5", code]) {
    await page.fill("#code", guess);
    await Promise.all([page.waitForResponse((response) => response.url().endsWith("/ui/session")), page.click("main button")]);
    assert.ok(await page.isVisible("#code"), guess);
  }
  await page.context().close();
});

test("no text of a caller or of Nexudus becomes HTML, code or a property", async () => {
  await renewed();
  const page = await openPage(await chrome.newContext(), stage.link);
  await page.evaluate(() => { location.hash = "#/requests"; });
  const bad = "%3Cimg%20src=x%20onerror=alert(1)%3E";
  await stage.ask(`/api/${bad}/%3Cscript%3Ealert(1)%3C/script%3E`, { headers: { "user-agent": "<img src=x onerror=alert(2)>", traceparent: "<svg onload=alert(3)>" } });
  await stage.ask(`/api/'"${bad}?x=${bad}`, { method: "PATCH", headers: { "content-length": 0 } });
  // Both are there: what follows is chosen by its place.
  await page.waitForFunction(() => document.querySelector(".spacer")?.textContent.includes("PATCH"));
  // And what a daemon could be made to say: names, sentences, hints, keys of objects.
  const evil = '<img src=x onerror="alert(5)">';
  await page.evaluate(async (evil) => {
    const { requests } = await import("/store.js");
    requests.push({ time: evil, request_id: evil, method: evil, path: evil, status: 403, code: evil, detail: evil, hint: evil, failure: evil,
      elapsed_ms: 1, token_ms: 0, queue_ms: 0, upstream_ms: 0, bytes: 1, client: evil, peer: evil, uid: 1, pid: 1, program: evil, trace_id: evil, sends: 2 });
  }, evil);
  await stage.ask("/api/last");
  await page.waitForFunction(() => document.querySelector(".spacer").textContent.includes("/api/last"));
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".detail:not([hidden])");
  assert.ok((await page.textContent(".detail")).includes(evil), "shown as it is");

  const read = (path) => page.evaluate(async (asked) => JSON.stringify(await (await import("/api.js")).get(asked)), path);
  const status = (await read("/v1/status")).replace(/^\{/, '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},')
    .replace(/"by_code":\{[^}]*\}/, `"by_code":{"__proto__":7,${JSON.stringify(evil)}:7}`).replace(/"account":"[^"]*"/, `"account":${JSON.stringify(evil)}`);
  const history = (await read("/v1/history")).replace('"requests":{', '"requests":{"__proto__":[1],"constructor":[1],')
    .replace(/"sentence":"[^"]*"/, `"sentence":${JSON.stringify(evil)}`);
  const answer = (body) => (route) => route.fulfill({ contentType: "application/json", body });
  await page.route("**/v1/status", answer(status));
  await page.route("**/v1/history*", answer(history));
  await page.evaluate(() => { location.hash = "#/overview"; });
  await page.waitForFunction((text) => document.querySelector(".state")?.textContent.includes(text), evil);
  await page.waitForTimeout(6000);
  const found = await page.evaluate(() => ({ polluted: {}.polluted, images: document.querySelectorAll("main img, main script, main svg[onload]").length }));
  assert.deepEqual(found, { polluted: undefined, images: 0 });
  assert.deepEqual(page.complaints, []);
  const refused = await page.evaluate(() => {
    try {
      document.createElement("div").innerHTML = "<b>x</b>";
      return "taken";
    } catch (error) {
      return error.name;
    }
  });
  assert.equal(refused, "TypeError", "Trusted Types hold");
  await page.context().close();
});

test("no secret, query value or body is in the page, its storage or its traffic", async () => {
  await renewed();
  const context = await chrome.newContext();
  const traffic = [];
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send("Network.enable");
  session.on("Network.dataReceived", () => {});
  page.on("request", (request) => traffic.push(request.url(), request.postData() ?? "", JSON.stringify(request.headers())));
  page.on("response", async (response) => {
    if (!response.url().includes("/v1/events")) traffic.push(await response.text().catch(() => ""));
  });
  await page.addInitScript(() => {
    globalThis.read_texts = [];
    const parse = JSON.parse;
    JSON.parse = (text, ...rest) => { globalThis.read_texts.push(text); return parse(text, ...rest); };
  });
  await page.goto(stage.link);
  await page.waitForSelector(".state.good");
  await page.evaluate(() => { location.hash = "#/requests"; });
  await stage.ask("/api/spaces/coworkers?q=marker-query", { headers: { authorization: "Bearer marker-token", cookie: "a=marker-cookie", "x-other": "marker-header" } });
  await stage.ask("/api/spaces/coworkers", { method: "POST", headers: { "content-type": "application/json" }, body: '{"FullName":"marker-body"}' });
  await stage.ask("/api/token", { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" }, body: "grant_type=password&username=a&password=marker-form" });
  await page.waitForFunction(() => document.querySelectorAll(".spacer .row").length === 3);
  for (const view of ["overview", "clients", "policy", "requests"]) {
    await page.evaluate((name) => { location.hash = `#/${name}`; }, view);
    await page.waitForTimeout(300);
    traffic.push(await page.content());
  }
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  const kept = await page.evaluate(() => [JSON.stringify({ ...sessionStorage }), JSON.stringify({ ...localStorage }), document.documentElement.outerHTML, ...globalThis.read_texts]);
  const all = [...traffic, ...kept].join("\n");
  assert.ok(all.includes("/api/spaces/coworkers"), "the search looks at what was shown");
  assert.deepEqual(all.match(/marker-[a-z]+/g) ?? [], []);
  await context.close();
});
