// The overview: is it up, what to do if not, and the last day.

import { h, setText, svg, table } from "./dom.js";
import { chart } from "./charts.js";
import { bytes, clock, count, duration } from "./format.js";
import { series, state } from "./store.js";

const CLASSES = [["2xx", "--good"], ["3xx", "--info"], ["4xx", "--warn"], ["5xx", "--bad"], ["none", "--dim"]];
const PARTS = [["total", "--text"], ["upstream", "--info"], ["queue", "--warn"], ["token", "--good"]];

export function overview() {
  const sentence = h("p", { class: "state", role: "status" });
  const advice = h("p", { class: "advice" });
  const facts = h("dl", { class: "facts" });
  const throttle = h("div", { class: "gauges" });
  const timeline = h("div", { class: "timeline" });
  const whole = (value) => String(Math.round(value));
  const millis = (value) => (value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${Math.round(value)} ms`);
  const perMinute = chart("Requests per minute", CLASSES.map(([name, colour]) =>
    [name === "none" ? "client left" : name, colour, whole]));
  const latency = chart("Latency, 95th percentile", PARTS.map(([name, colour]) => [name, colour, millis]));
  const connections = chart("Local connections", [["open", "--info", whole]], 110);
  const memory = chart("Memory of the daemon", [["resident", "--info", bytes]], 110);
  const charts = [perMinute, latency, connections, memory];

  const element = h("div", { class: "overview" },
    h("section", { class: "card wide", "aria-label": "State" }, h("h2", {}, "State"), sentence, advice, facts),
    h("section", { class: "card wide", "aria-label": "Session" }, h("h2", {}, "Session of the last day"), timeline),
    perMinute.element, latency.element,
    h("section", { class: "card", "aria-label": "Throttle" }, h("h2", {}, "Throttle"), throttle),
    h("div", { class: "pair" }, connections.element, memory.element));

  return {
    element,
    update(what) {
      if (what.has("status") && state.status) {
        showState(state.status, sentence, advice, facts);
        throttle.replaceChildren(...gauges(state.status.throttle));
      }
      if (what.has("history") && state.history) {
        const { time } = state.history;
        perMinute.update([time, ...CLASSES.map(([name]) => series("requests", name))]);
        latency.update([time, ...PARTS.map(([name]) => series("latency_ms", `${name}_p95`))]);
        connections.update([time, state.history.connections]);
        memory.update([time, state.history.memory_bytes]);
        timeline.replaceChildren(...sessionTimeline(state.history));
      }
    },
    close() { charts.forEach((each) => each.close()); },
  };
}

function showState(status, sentence, advice, facts) {
  const { session } = status;
  const reason = status.reasons[0];
  const renewal = session.renews_in_s === null ? "" : `, token renews in ${duration(session.renews_in_s)}`;
  const account = session.account ? `Logged in as ${session.account}${renewal}.` : "";
  setText(sentence, status.ready ? `Ready. ${account}` : `Not ready: ${reason?.sentence ?? "the daemon does not say why"} (${reason?.code ?? status.phase}).`);
  sentence.className = `state ${status.ready ? (session.degraded || session.error ? "warn" : "good") : "bad"}`;
  const hints = [reason?.hint, status.ready ? session.error && `${session.error.sentence} ${session.error.hint}` : null,
    session.degraded, session.api_access === false ? session.advice : null,
    status.restart_needed.length > 0 ? `Restart the daemon for ${status.restart_needed.join(", ")}.` : null];
  setText(advice, hints.filter(Boolean).join(" "));
  const { requests } = status;
  const rows = [
    ["Version", `${status.version}, profile ${status.profile}, up ${duration(status.uptime_s)}, process ${status.pid}`],
    ["Upstream", status.upstream],
    ["Listening", [...status.listening.tcp, status.listening.unix].filter(Boolean).join("  ")],
    ["Requests", `${count(requests.total, "request")}, ${requests.in_flight} in flight, ${count(requests.connections, "connection")} open`],
    ["Token", session.expires_in_s === null ? "none" : `valid for ${duration(session.expires_in_s)}, ${count(status.renewals, "renewal")} since the start`],
    ["Refused", Object.entries(requests.by_code).map(([code, times]) => `${times} ${code}`).join(", ") || "none"],
  ];
  facts.replaceChildren(...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** The most requests that the windows of a limiter allow in a minute; `null` where there is none. */
export function perMinuteLimit(windows) {
  let least = null;
  for (const window of windows) {
    const match = /^(\d+)\/(\d+(?:\.\d+)?)(ms|s|m|min|h)?$/.exec(window.trim());
    if (!match) continue;
    const unit = { ms: 0.001, s: 1, m: 60, min: 60, h: 3600 }[match[3] ?? "s"];
    const limit = Number(match[1]) * 60 / (Number(match[2]) * unit);
    if (least === null || limit < least) least = limit;
  }
  return least;
}

function gauges(throttle) {
  return [["Reads", throttle.reads], ["Writes", throttle.writes]].map(([name, limiter]) => {
    const limit = perMinuteLimit(limiter.windows);
    const share = limit === null ? 0 : Math.min(1, limiter.minute / limit);
    const arc = (part) => {
      const angle = Math.PI * (1 - part);
      return `M 10 60 A 50 50 0 0 1 ${(60 + 50 * Math.cos(angle)).toFixed(2)} ${(60 - 50 * Math.sin(angle)).toFixed(2)}`;
    };
    const isPaused = limiter.paused_ms !== null;
    const label = limit === null ? `${limiter.minute} this minute, no limit known`
      : `${limiter.minute} of ${Math.round(limit).toLocaleString("en")} this minute`;
    return h("div", { class: "gauge" },
      svg("svg", { viewBox: "0 0 120 66", role: "img", "aria-label": `${name}: ${label}` },
        svg("path", { d: arc(1), class: "track" }),
        share > 0 ? svg("path", { d: arc(share), class: isPaused ? "fill bad" : "fill" }) : null,
        svg("text", { x: 60, y: 58, "text-anchor": "middle" }, String(limiter.minute))),
      h("p", {}, h("strong", {}, name), ` ${label}`),
      h("p", { class: isPaused ? "warn" : "" }, limiter.state),
      h("p", { class: "dim" }, `${limiter.waiting} waiting${limiter.callers > 0 ? ` of ${count(limiter.callers, "caller")}` : ""}, ${limiter.throttled} throttle answers, ${limiter.replayed} sent again, ${limiter.refused} refused; ${limiter.day.toLocaleString("en")} today`));
  });
}

const KINDS = new Map([["ready", "good"], ["renewed", "good"], ["login", "good"], ["failed", "bad"], ["unready", "bad"], ["locked", "warn"], ["started", "info"]]);

function sessionTimeline(history) {
  const { events } = history;
  const end = history.now;
  const begin = end - history.capacity * history.step_s;
  const at = (time) => 4 + 992 * Math.max(0, (time - begin) / (end - begin));
  const marks = events.filter(({ time }) => time >= begin).map((event) =>
    svg("g", {}, svg("title", {}, `${clock(event.time)} ${event.sentence}`),
      svg("rect", { x: at(event.time).toFixed(1) - 1.5, y: 6, width: 3, height: 20, class: `mark ${KINDS.get(event.kind) ?? "info"}` })));
  const hours = Array.from({ length: 25 }, (_, hour) => svg("line", { x1: 4 + hour * 41.33, x2: 4 + hour * 41.33, y1: 26, y2: hour % 6 === 0 ? 34 : 30, class: "tick" }));
  const last = events.slice(-5).reverse();
  return [
    svg("svg", { viewBox: "0 0 1000 36", preserveAspectRatio: "none", class: "line", role: "img", "aria-label": `${count(events.length, "event")} of the session in the last day` },
      svg("line", { x1: 4, x2: 996, y1: 26, y2: 26, class: "tick" }), hours, marks),
    last.length === 0 ? h("p", {}, "Nothing has happened to the session yet.")
      : table("The latest events of the session", ["Time", "Event"], last.map((event) => [clock(event.time),
        h("span", { class: KINDS.get(event.kind) ?? "" }, event.sentence)])),
  ];
}
