// Numbers, times and commands as texts.

/** Seconds as people say them: `3 d 4 h`. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [[Math.floor(whole / 86400), "d"], [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "min"], [whole % 60, "s"]];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`).join(" ");
}

/** Microseconds: `0.4 ms`, `38 ms`, `1.2 s`. */
export function micros(us) {
  if (us === null || us === undefined) return "–";
  if (us < 1000) return `${Math.round(us)} µs`;
  if (us < 10_000) return `${(us / 1000).toFixed(1)} ms`;
  if (us < 1_000_000) return `${Math.round(us / 1000)} ms`;
  return `${(us / 1_000_000).toFixed(1)} s`;
}

/** Bytes: `812 B`, `1.5 MiB`. */
export function bytes(count) {
  if (count === null || count === undefined) return "unknown";
  let value = count;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024 || unit === "GiB") return unit === "B" ? `${value} B` : `${value.toFixed(1)} ${unit}`;
    value /= 1024;
  }
  return "";
}

/** A count with its noun: `1 request`, `2 requests`. */
export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** The time of day of an RFC 3339 time or of seconds since 1970. */
export function clock(time) {
  const date = new Date(typeof time === "number" ? time * 1000 : time);
  if (Number.isNaN(date.getTime())) return "";
  const two = (part) => String(part).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** Text that a POSIX shell reads as one word. */
export function quote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** The same request as a command of curl: the key by its variable, never by its value. */
export function curl(request, base) {
  const words = ["curl"];
  if (request.method !== "GET") words.push("-X", quote(request.method));
  if (request.client) words.push("-H", '"Nexudus-Proxy-Key: $NEXUDUS_PROXY_KEY"');
  words.push(quote(base + request.path));
  return words.join(" ");
}

/** Whether Nexudus or the daemon made the request wait because of the throttle. */
export function isThrottled(request) {
  return request.status === 429 || request.code === "throttle.queue" || request.queue_ms > 0;
}

/** Whether the client of the request gets tokens for personal values. */
export function isRedacted(request) {
  return Number.isInteger(request.redacted) || request.code === "policy.redacted";
}

/** Whether the request failed: no response, an error, or an action that was not successful. */
export function isFailed(request) {
  return request.status === null || request.status >= 400 || Boolean(request.failure);
}

/** The letters that cannot be seen, steer or turn the order of others, and the bracket that marks them. */
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}⟨]|(?! )\p{Zs}/gu;

/** Text of other people in which each letter is seen: `⟨U+202E⟩`. Two texts that differ look different. */
export function visible(text) {
  return text.replace(HIDDEN, (letter) => `⟨U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

/** The same for a text of several lines, of which JSON in one line becomes several. */
export function lines(text) {
  let shown = text;
  try {
    if (/^\s*[[{]/.test(text) && text.length < 65_536) shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // A body that was cut is shown as it is.
  }
  return shown.split("\n").map(visible).join("\n");
}

/** Requests as an HTTP Archive 1.2; `contents` has what was captured, by the numbers of the requests. */
export function har(requests, base, version, contents = new Map()) {
  const body = (message) => {
    const text = message?.body?.text;
    const note = message?.body?.note;
    return { ...(typeof text === "string" ? { text } : {}), ...(note ? { comment: note } : {}) };
  };
  const kind = (message) => message?.headers.find(({ name }) => name === "content-type")?.value;
  const entry = (request) => {
    const content = contents.get(request.request_id);
    const query = content?.query ?? [];
    const search = query.length > 0 ? `?${new URLSearchParams(query.map(({ name, value }) => [name, value]))}` : "";
    const posted = content?.request.body?.text || content?.request.body?.note
      ? { postData: { mimeType: kind(content.request) ?? "", text: "", ...body(content.request) } } : {};
    const times = request.times_us ?? {};
    const ms = (us) => Math.round(us ?? 0) / 1000;
    const total = times.total ?? request.elapsed_ms * 1000;
    const send = times.body ?? 0;
    const connect = Math.min(times.connect ?? 0, times.upstream ?? 0);
    const wait = (times.upstream ?? 0) - connect;
    const receive = Math.max(0, total - (times.first_byte ?? total));
    const blocked = Math.max(0, total - send - connect - wait - receive);
    const ended = new Date(request.time).getTime();
    return {
      startedDateTime: new Date(ended - total / 1000).toISOString(),
      time: ms(total),
      request: {
        method: request.method, url: base + request.path + search, httpVersion: "HTTP/1.1", cookies: [],
        headers: content?.request.headers ?? [], queryString: query, headersSize: -1, bodySize: -1, ...posted,
      },
      response: {
        status: request.status ?? 0, statusText: request.code ?? "", httpVersion: "HTTP/1.1",
        cookies: [], headers: content?.response.headers ?? [], redirectURL: "", headersSize: -1, bodySize: request.bytes,
        content: { size: request.bytes, mimeType: kind(content?.response) ?? "x-unknown", ...body(content?.response) },
      },
      cache: {},
      timings: { blocked: ms(blocked), dns: -1, connect: connect > 0 ? ms(connect) : -1, send: ms(send), wait: ms(wait),
        receive: ms(receive), ssl: -1 },
      _resourceType: "fetch", _client: request.client ?? null, _program: request.program ?? null,
      _requestId: request.request_id, _traceId: request.trace_id ?? null,
    };
  };
  return { log: { version: "1.2", creator: { name: "nexudus-proxy", version }, entries: requests.map(entry) } };
}
