// One request: where its time went, why it was refused, what it can be repeated with.

import { h, svg, table } from "./dom.js";
import { bytes, curl, isThrottled, lines, micros, visible } from "./format.js";

/** The parts of a request in their order, each with what it is. */
export function parts(request) {
  const times = request.times_us ?? {};
  const ms = (value) => (value ?? 0) * 1000;
  const total = times.total ?? ms(request.elapsed_ms);
  const upstream = times.upstream ?? ms(request.upstream_ms);
  const first = times.first_byte ?? total;
  const guard = times.guard ?? 0;
  const policy = times.policy ?? 0;
  const body = times.body ?? 0;
  const queue = times.queue ?? ms(request.queue_ms);
  const token = times.token ?? ms(request.token_ms);
  const connect = Math.min(times.connect ?? 0, upstream);
  const known = guard + policy + body + queue + token + upstream;
  return {
    total,
    accept: times.accept ?? null,
    rows: [
      ["guard", guard, "Is it well-formed, for this host, and from an admitted user?"],
      ["policy", policy, "May this client do this?"],
      ["body", body, "The client's body, as far as it is read before anything is sent"],
      ["queue", queue, "Waiting for its turn, while Nexudus throttles"],
      ["token", token, "Waiting for a valid token"],
      ["connect", connect, "Waiting for a new connection to Nexudus: name, TCP and TLS"],
      ["Nexudus", upstream - connect, "Sending, until the head of the answer"],
      ["daemon", Math.max(0, first - known), "The rest until the head of the answer"],
      ["answer", Math.max(0, total - first), "From the first byte of the answer to the last"],
    ],
  };
}

function waterfall(request) {
  const { total, accept, rows: inside } = parts(request);
  // The first request of a connection: its time begins with the head, which came so long after accepting.
  const rows = accept === null ? inside : [["accept", 0, "From accepting the connection to the head of its first request", accept], ...inside];
  const whole = Math.max(1, total);
  let begin = 0;
  const bars = rows.map(([name, took, meaning, before], at) => {
    const x = 80 + 250 * Math.min(1, begin / whole);
    const width = Math.max(took > 0 ? 1 : 0, 250 * Math.min(1, took / whole));
    begin += took;
    return svg("g", {}, svg("title", {}, meaning),
      svg("text", { x: 0, y: at * 20 + 14 }, name),
      svg("rect", { x: x.toFixed(1), y: at * 20 + 4, width: width.toFixed(1), height: 12, class: `bar part-${name}` }),
      svg("text", { x: 400, y: at * 20 + 14, "text-anchor": "end" }, micros(before ?? took)));
  });
  const told = rows.map(([name, took, , before]) => `${name} ${micros(before ?? took)}`).join(", ");
  return svg("svg", { viewBox: `0 0 400 ${rows.length * 20 + 4}`, class: "waterfall", role: "img", "aria-label": `Where ${micros(total)} went: ${told}` }, bars);
}

const named = (caption, values) => values.length === 0 ? null : table(caption, ["Name", "Value"], values.map(({ name, value }) => [visible(name), visible(value)]));

function body(caption, message) {
  if (!message.body || (message.body.text === "" && !message.body.note)) return null;
  return [h("h4", {}, caption), message.body.note ? h("p", { class: "dim" }, message.body.note) : null,
    message.body.text ? h("pre", { tabindex: "0", "aria-label": caption }, lines(message.body.text)) : null];
}

/** The elements that show what was captured of a request. */
export function content({ query, request, response }) {
  return [h("p", { class: "dim" }, "Personal values are tokens here. The daemon keeps the latest 16 MiB in memory until this page ends."),
    named("Query", query ?? []), named("Headers of the request", request.headers), body("Body of the request", request),
    named("Headers of the answer", response.headers), body("Body of the answer", response)].flat().filter(Boolean);
}

/** The elements that show a request. */
export function detail(request, base, { copy, close }) {
  const title = `${request.method} ${request.path}`;
  const rows = [
    ["Status", request.status === null ? "The client left before the answer." : String(request.status)],
    ["Refused", request.code && `${request.code}${request.detail ? `: ${request.detail}` : ""}`],
    ["Way out", request.hint],
    ["Action", request.failure && (request.failure === "unsuccessful"
      ? "Nexudus says \"WasSuccessful\": false: the action was refused, whatever the status."
      : "Nexudus says that the action failed.")],
    ["Sent", request.sends > 1 ? `${request.sends} times: after a throttle answer, a new token or a passing failure` : null],
    ["Throttle", isThrottled(request) ? "It waited, or was refused, because of the throttle." : null],
    ["Client", request.client ?? "without a key"],
    ["Redacted", Number.isInteger(request.redacted) ? `${request.redacted.toLocaleString("en")} values became tokens` : null],
    ["Program", [request.program, request.pid && `process ${request.pid}`, request.uid !== null && request.uid !== undefined && `user ${request.uid}`].filter(Boolean).join(", ")],
    ["Peer", request.peer],
    ["Answer", bytes(request.bytes)],
    ["Ended", request.time],
    ["Request", `number ${request.request_id}`],
    ["Trace", request.trace_id],
  ];
  const button = h("button", { type: "button", onclick: () => copy(button) }, "Copy as curl");
  return [
    h("h3", {}, title),
    waterfall(request),
    h("dl", { class: "facts" }, rows.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    h("p", { class: "actions" }, button, h("button", { type: "button", onclick: close }, "Close")),
    h("pre", { tabindex: "0", "aria-label": "The request as a command of curl" }, curl(request, base)),
  ];
}
