// Which requests are shown.

import { isFailed, isRedacted, isThrottled } from "./format.js";

export const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
export const SLOW_MS = 1000;

/** Returns whether a request matches what the person has chosen. */
export function matcher({ path, client, program, method, status, flags }) {
  const part = path.toLowerCase();
  const has = (text, wanted) => (text ?? "").toLowerCase().includes(wanted.toLowerCase());
  return (request) =>
    (part === "" || request.path.toLowerCase().includes(part)) &&
    (client === "" || has(request.client, client)) &&
    (program === "" || has(request.program, program)) &&
    (method === "" || request.method === method) &&
    (status === "" || statusMatches(request.status, status)) &&
    (!flags.has("slow") || request.elapsed_ms >= SLOW_MS) &&
    (!flags.has("failed") || isFailed(request)) &&
    (!flags.has("throttled") || isThrottled(request)) &&
    (!flags.has("redacted") || isRedacted(request));
}

function statusMatches(status, wanted) {
  if (status === null) return wanted === "none";
  const text = String(status);
  return wanted.endsWith("xx") ? text[0] === wanted[0] : text === wanted;
}

/** The numbers of the matching requests, kept up to date as requests come and go. */
export class Matches {
  constructor(log) {
    this.log = log;
    this.matches = () => true;
    this.numbers = [];
    this.head = 0;
    this.seen = log.first;
  }

  get length() { return this.numbers.length - this.head; }

  /** The `index`th match, the newest first. */
  at(index) { return this.numbers[this.numbers.length - 1 - index]; }

  setFilter(matches) {
    this.matches = matches;
    this.numbers = [];
    this.head = 0;
    this.seen = this.log.first;
    this.update();
  }

  /** Looks at the requests since the last call. Returns how many of them match. */
  update() {
    const before = this.numbers.length;
    for (let number = Math.max(this.seen, this.log.first); number < this.log.end; number += 1) {
      if (this.matches(this.log.at(number))) this.numbers.push(number);
    }
    this.seen = this.log.end;
    const added = this.numbers.length - before;
    while (this.head < this.numbers.length && this.numbers[this.head] < this.log.first) this.head += 1;
    if (this.head >= 4096) {
      this.numbers.splice(0, this.head);
      this.head = 0;
    }
    return added;
  }
}
