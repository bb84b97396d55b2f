// What the page knows of the daemon: its status, its last day, and the requests that it has seen.

import { ApiError, Ended, get, readEvents } from "./api.js";

const STATUS_INTERVAL = 2000;
const HISTORY_INTERVAL = 5000;
const RECONNECT_INTERVAL = 1000;
/** Most requests that are kept; the oldest go first. */
export const MAX_REQUESTS = 100_000;

const listeners = new Set();

export const state = {
  status: null,
  history: null,
  /** `starting`, `live`, `daemon-gone`, `command-gone` or `refused`. */
  link: "starting",
  problem: null,
  /** The calls that wait for a person, or `null` where none were asked for. */
  calls: null,
  /** Requests that were lost because this page or its connection was too slow. */
  lost: 0,
};

/** The requests, oldest first. The number of the first one grows when old ones are dropped. */
export class RequestLog {
  constructor(capacity) {
    this.capacity = capacity;
    this.kept = [];
    this.head = 0;
    this.first = 0;
  }

  get length() { return this.kept.length - this.head; }

  get end() { return this.first + this.length; }

  at(number) { return this.kept[this.head + number - this.first]; }

  push(request) {
    this.kept.push(request);
    if (this.length <= this.capacity) return;
    this.kept[this.head] = undefined;
    this.head += 1;
    this.first += 1;
    // Moved together now and then, so that the array does not grow for ever.
    if (this.head >= 4096) {
      this.kept.splice(0, this.head);
      this.head = 0;
    }
  }

  clear() {
    this.first = this.end;
    this.kept = [];
    this.head = 0;
  }
}

export const requests = new RequestLog(MAX_REQUESTS);

/** Calls `listener` with what has changed: `status`, `history`, `link`, `calls` or `requests`. */
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const waiting = new Set();

/** Tells the listeners once per frame, however much has changed. */
function changed(what) {
  if (waiting.size === 0) schedule(tell);
  waiting.add(what);
}

function tell() {
  const all = new Set(waiting);
  waiting.clear();
  for (const listener of listeners) listener(all);
}

/** A frame; a hidden page has none, and its numbers may wait. */
function schedule(work) {
  if (document.hidden) setTimeout(work, 1000);
  else requestAnimationFrame(work);
}

function setLink(link, problem) {
  if (state.link === link && state.problem?.message === problem?.message) return;
  state.link = link;
  state.problem = problem ?? null;
  changed("link");
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function failed(error) {
  if (error instanceof ApiError && (error.status === 401 || error.status === 403)) setLink("refused", error);
  else if (error instanceof Ended) setLink("command-gone", error);
  else if (error instanceof ApiError) setLink("daemon-gone", error);
  else setLink("daemon-gone", new ApiError(0, { detail: "The daemon's answer was not understood." }));
}

async function refreshStatus() {
  const status = await get("/v1/status");
  if (state.status && state.status.pid !== status.pid) {
    // Another process begins its own count and its own history.
    state.history = null;
  }
  state.status = status;
  changed("status");
}

async function refreshHistory() {
  const known = state.history;
  const last = known?.time.at(-2);
  const news = await get(last === undefined ? "/v1/history" : `/v1/history?after=${last}`);
  state.history = known && news.started === known.started ? joined(known, news) : news;
  changed("history");
}

/** Asks for the calls that wait for a person. */
export async function refreshCalls() {
  state.calls = (await get("/v1/approvals")).calls;
  changed("calls");
}

/** Joins what is known with the minutes that are new or have changed. */
function joined(known, news) {
  const from = news.time[0];
  const kept = from === undefined ? known.time.length : known.time.findIndex((time) => time >= from);
  const until = kept < 0 ? known.time.length : kept;
  const skipped = Math.max(0, until + news.time.length - news.capacity);
  const column = (before, after) => before.slice(skipped, until).concat(after);
  const columns = (before, after) =>
    new Map([...after].map(([name, values]) => [name, column(before.get(name) ?? [], values)]));
  const entries = (value) => (value instanceof Map ? value : new Map(Object.entries(value)));
  return {
    ...news,
    time: column(known.time, news.time),
    requests: columns(entries(known.requests), entries(news.requests)),
    latency_ms: columns(entries(known.latency_ms), entries(news.latency_ms)),
    throttled: column(known.throttled, news.throttled),
    waiting: column(known.waiting, news.waiting),
    connections: column(known.connections, news.connections),
    memory_bytes: column(known.memory_bytes, news.memory_bytes),
  };
}

/** Returns a named column of the history. */
export function series(group, name) {
  const columns = state.history?.[group];
  const found = columns instanceof Map ? columns.get(name) : columns && Object.hasOwn(columns, name) && columns[name];
  return found || [];
}

function seen(kind, value) {
  if (kind === "request") {
    requests.push(value);
    changed("requests");
  } else if (kind === "ready" && state.status) {
    state.status.ready = value.ready;
    state.status.reasons = value.reasons;
    changed("status");
  } else if (kind === "session" && state.status) {
    state.status.session = value;
    changed("status");
    refreshHistory().catch(() => {});
  } else if (kind === "approval") {
    refreshCalls().catch(() => {});
  } else if (kind === "lost") {
    state.lost += value;
    changed("requests");
  }
}

/** Follows the daemon for as long as the page is open, from one process to the next. */
export async function follow(session) {
  const kinds = `ready,session,request${session.approvals ? ",approval" : ""}`;
  const content = session.bodies ? "&content=headers,queries,bodies" : "";
  poll(refreshStatus, STATUS_INTERVAL);
  poll(refreshHistory, HISTORY_INTERVAL);
  for (;;) {
    try {
      await refreshStatus();
      setLink("live");
      refreshHistory().catch(() => {});
      await readEvents(`/v1/events?kinds=${kinds}${content}`, seen);
      setLink("daemon-gone", new ApiError(0, { detail: "The daemon has ended." }));
    } catch (error) {
      failed(error);
    }
    if (state.link === "refused") return;
    await pause(RECONNECT_INTERVAL);
  }
}

async function poll(refresh, interval) {
  for (;;) {
    if (state.link === "live" && !document.hidden) await refresh().catch(() => {});
    if (state.link === "refused") return;
    await pause(interval);
  }
}
