// Requests to the command that serves this page, which relays them to the daemon.

const STORED = "nexudus-proxy-ui";

/** An error response: one sentence, a code and a hint. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `The answer was ${status}.`);
    this.status = status;
    this.code = problem?.code ?? "";
    this.hint = problem?.hint ?? "";
  }
}

/** The command that serves this page has ended. */
export class Ended extends Error {}

let token = sessionStorage.getItem(STORED);

export const hasToken = () => token !== null;

/** Takes the code out of the address, so that neither the history nor a bookmark keeps it. */
export function takeCode() {
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code !== null) history.replaceState(null, "", "/");
  return code;
}

/** Exchanges a code for the token of this tab. */
export async function begin(code) {
  const session = await post("/ui/session", { code });
  token = session.token;
  sessionStorage.setItem(STORED, token);
}

/** Forgets the token: the command no longer takes it. */
export function forget() {
  token = null;
  sessionStorage.removeItem(STORED);
}

async function send(method, path, body, signal) {
  const headers = {};
  if (token !== null) headers["Nexudus-Proxy-Ui"] = token;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method, headers, signal, cache: "no-store", credentials: "omit", redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Ended("The command that serves this page has ended.");
  }
  if (response.ok) return response;
  let problem = null;
  try {
    problem = await response.json();
  } catch {
    // A body that is no JSON says nothing more than its status.
  }
  throw new ApiError(response.status, problem);
}

export async function get(path) {
  return (await send("GET", path)).json();
}

export async function post(path, body) {
  return (await send("POST", path, body ?? {})).json();
}

/** Reads the daemon's events until they end. `seen` gets the kind and the value of each. */
export async function readEvents(path, seen, signal) {
  const response = await send("GET", path, undefined, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      let kind = "";
      let data = "";
      for (const line of block.split("\n")) {
        if (line.startsWith("event: ")) kind = line.slice(7);
        else if (line.startsWith("data: ")) data = line.slice(6);
      }
      if (data !== "") seen(kind, JSON.parse(data));
    }
  }
}
