// The pictures of docs/ and README.md: an invented day, so that they are the same tomorrow. UPDATE_SCREENSHOTS=1 renews them.

import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";

import { ROOT, Stage, browser } from "./stage.mjs";

const NOW = Date.UTC(2026, 2, 4, 15, 30, 0) / 1000;
/** How much of a picture may differ: other fonts draw other letters. */
const TOLERANCE = 0.05;
let stage;
let chrome;

before(async () => {
  stage = await Stage.start();
  chrome = await browser("--font-render-hinting=none", "--disable-lcd-text");
});

after(async () => {
  await chrome?.close();
  await stage?.stop();
});

const limiter = (minute, windows, state) => ({ state, paced: windows.length > 0 ? "all" : "nothing", path: null, paused_ms: null, waiting: windows.length > 0 ? 3 : 0,
  callers: windows.length > 0 ? 2 : 0, windows, learned: true, minute, day: minute * 97, above_published: false, throttled: windows.length, replayed: windows.length, refused: 0, waited_ms: 0 });

const STATUS = {
  api: 1, version: "0.1.0", pid: 4711, profile: "default", phase: "serving", ready: true, reasons: [], uptime_s: 266_400,
  listening: { tcp: ["127.0.0.1:6398", "[::1]:6398"], unix: "/run/user/1000/nexudus-proxy/proxy.sock", hosts: [], admin: null, admin_tcp: null, health: null, activated: true },
  upstream: "https://spaces.nexudus.com",
  session: { state: "ready", account: "ada@example.com", renews_in_s: 273_600, expires_in_s: 331_200, error: null, degraded: null, api_access: null, advice: null },
  renewals: 1, requests: { in_flight: 2, connections: 5, total: 184_223, by_status: {}, by_code: { "policy.denied": 12, "policy.rate": 3 } },
  clients: [], throttle: { reads: limiter(412, ["10/1s"], "10/1s (learned)"), writes: limiter(17, [], "unpaced"), own: limiter(0, [], "unpaced") },
  host_throttles: [], restart_needed: [],
};

function history() {
  const first = NOW - (NOW % 60) - 1439 * 60;
  const minutes = Array.from({ length: 1440 }, (_, at) => at);
  const day = (at) => Math.max(0, Math.sin(((at - 900) / 780) * Math.PI));
  const wave = (at, scale, noise) => Math.round(scale * day(at) * (1 + noise * Math.sin(at * 7.3) * Math.cos(at * 1.7)));
  const columns = (make) => minutes.map(make);
  const busy = (at) => at > 1050 && at < 1095;
  return {
    api: 1, started: NOW - 266_400, now: NOW, step_s: 60, capacity: 1440, time: columns((at) => first + at * 60),
    requests: { none: columns((at) => wave(at, 1, 1)), "1xx": columns(() => 0), "2xx": columns((at) => wave(at, 420, 0.3)), "3xx": columns(() => 0),
      "4xx": columns((at) => wave(at, 14, 0.9)), "5xx": columns((at) => (busy(at) ? 9 : 0)) },
    latency_ms: { total_p95: columns((at) => 90 + wave(at, 40, 0.4) + (busy(at) ? 380 : 0)), upstream_p95: columns((at) => 80 + wave(at, 30, 0.4)),
      queue_p95: columns((at) => (busy(at) ? 350 : 0)), token_p95: columns(() => 0) },
    throttled: columns(() => 0), waiting: columns(() => 0), connections: columns((at) => 2 + wave(at, 6, 0.5)), memory_bytes: columns((at) => 14_000_000 + wave(at, 3_000_000, 0.1)),
    events: [[-64_000, "started", "The daemon started."], [-63_998, "resumed", "The saved session of ada@example.com was resumed."],
      [-31_000, "renewed", "The token was renewed."], [-23_300, "failed", "Nexudus could not be reached."], [-23_100, "ready", "Ready again."]]
      .map(([ago, kind, sentence]) => ({ time: NOW + ago, kind, sentence })),
  };
}

function records() {
  const paths = ["/api/spaces/coworkers", "/api/spaces/bookings", "/api/billing/coworkerinvoices", "/api/spaces/resources", "/api/spaces/coworkers/1400100137"];
  return Array.from({ length: 40 }, (_, at) => {
    const denied = at === 38;
    const slow = at % 9 === 4;
    const total = denied ? 140 : slow ? 1_420_000 : 38_000 + at * 731;
    return { time: new Date((NOW - 40 + at) * 1000).toISOString(), request_id: 184_183 + at, method: denied ? "DELETE" : at % 6 === 5 ? "POST" : "GET", path: paths[denied ? 4 : at % 4],
      status: denied ? 403 : at % 13 === 7 ? 404 : 200, code: denied ? "policy.denied" : null, detail: denied ? "denied by rule `DELETE /**`" : null,
      hint: denied ? "`nexudus-proxy policy explain METHOD PATH` says what is allowed." : null, failure: null, elapsed_ms: Math.round(total / 1000), token_ms: 0, queue_ms: slow ? 1300 : 0,
      upstream_ms: 0, bytes: 1200 + at * 97, client: at % 3 === 0 || denied ? "agent" : at % 3 === 1 ? "reports" : null, peer: "127.0.0.1:51234", uid: 1000, pid: 5120 + at, program: at % 3 === 1 ? "python3" : "node",
      trace_id: null, sends: denied ? 0 : 1, times_us: { guard: 62, policy: 41, body: 0, queue: slow ? 1_300_000 : 0, token: 0, upstream: denied ? 0 : slow ? 88_000 : total - 6_000, first_byte: denied ? 130 : total - 5_200, total } };
  });
}

async function page(colorScheme) {
  await stage.endCommand();
  await stage.open();
  const context = await chrome.newContext({ colorScheme, viewport: { width: 1200, height: 860 }, timezoneId: "UTC", locale: "en-GB", reducedMotion: "reduce" });
  const opened = await context.newPage();
  await opened.route("**/v1/status", (route) => route.fulfill({ json: STATUS }));
  await opened.route("**/v1/history*", (route) => route.fulfill({ json: history() }));
  await opened.goto(stage.link);
  await opened.waitForSelector(".state.good");
  await opened.waitForSelector(".u-over");
  return opened;
}

/** Compares a picture with the stored one, in the browser: the share of pixels that differ visibly. */
async function compare(name, picture) {
  const file = path.join(ROOT, "docs", name);
  if (process.env.UPDATE_SCREENSHOTS) fs.writeFileSync(file, picture);
  const blank = await chrome.newPage();
  const differing = await blank.evaluate(async (sources) => {
    const pixels = await Promise.all(sources.map(async (source) => {
      const image = new Image();
      image.src = `data:image/png;base64,${source}`;
      await image.decode();
      const canvas = new OffscreenCanvas(image.width, image.height);
      const drawing = canvas.getContext("2d");
      drawing.drawImage(image, 0, 0);
      return drawing.getImageData(0, 0, image.width, image.height);
    }));
    const [a, b] = pixels;
    if (a.width !== b.width || a.height !== b.height) return 1;
    let count = 0;
    for (let at = 0; at < a.data.length; at += 4) {
      if (Math.abs(a.data[at] - b.data[at]) + Math.abs(a.data[at + 1] - b.data[at + 1]) + Math.abs(a.data[at + 2] - b.data[at + 2]) > 96) count += 1;
    }
    return count / (a.width * a.height);
  }, [picture.toString("base64"), fs.readFileSync(file).toString("base64")]);
  await blank.close();
  assert.ok(differing <= TOLERANCE, `${name}: ${(differing * 100).toFixed(1)} % differ; look at it, then UPDATE_SCREENSHOTS=1`);
}

test("the overview looks as it is shown in the documents, light and dark", async () => {
  for (const [scheme, name] of [["light", "inspector-overview.png"], ["dark", "inspector-overview-dark.png"]]) {
    const opened = await page(scheme);
    await compare(name, await opened.screenshot());
    await opened.context().close();
  }
});

test("README shows the overview", () => {
  const shown = /!\[[^\]]+\]\(docs\/inspector-overview\.png\)/;
  assert.match(fs.readFileSync(path.join(ROOT, "README.md"), "utf8"), shown);
});

test("the requests look as they are shown in the documents", async () => {
  const opened = await page("light");
  await opened.evaluate(async (all) => {
    const { requests } = await import("/store.js");
    all.forEach((record) => requests.push(record));
    location.hash = "#/requests";
  }, records());
  await opened.waitForSelector(".spacer .row");
  await opened.keyboard.press("j");
  await opened.keyboard.press("j");
  await opened.keyboard.press("Enter");
  await opened.waitForSelector(".waterfall");
  await compare("inspector-requests.png", await opened.screenshot());
  await opened.context().close();
});
