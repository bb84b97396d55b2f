// A simulated Nexudus, a daemon, the command `ui` and a real Chromium, each a process of its own.

import { execFile, spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";

const tools = createRequire(process.env.UI_TOOLS ? `${process.env.UI_TOOLS}/x.js` : import.meta.url);
export const { chromium } = tools("playwright-core");
export const AXE = fs.readFileSync(tools.resolve("axe-core/axe.min.js"), "utf8");
export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BIN = path.join(process.env.CARGO_TARGET_DIR ?? path.join(ROOT, "target"), "debug");

/** Starts a program and resolves to it and to the first line that matches. */
function start(program, args, env, wanted, stream = "stdout") {
  const child = spawn(path.join(BIN, program), args, { env, stdio: ["ignore", "pipe", "pipe"] });
  const other = stream === "stdout" ? child.stderr : child.stdout;
  other.resume();
  return new Promise((resolve, reject) => {
    createInterface({ input: child[stream] }).on("line", (line) => {
      const match = wanted.exec(line);
      if (match) resolve({ child, match });
    });
    child.once("exit", (code) => reject(new Error(`${program} ended with ${code} before ${wanted}`)));
  });
}

const ended = (child) => new Promise((resolve) => (child.exitCode !== null || child.signalCode !== null ? resolve() : child.once("exit", resolve)));

export class Stage {
  static async start(...flags) {
    const stage = new Stage();
    stage.home = fs.mkdtempSync(path.join(os.tmpdir(), "nexudus-proxy-ui-"));
    stage.env = { HOME: stage.home, TMPDIR: stage.home, PATH: process.env.PATH };
    const ca = path.join(stage.home, "ca.pem");
    const simulator = await start("nexudus-simulator", ["--listen", "127.0.0.1:0", "--control", "off", "--ca-out", ca,
      "--password", "marker-password"], stage.env, /listening on (https:\S+)/);
    stage.simulator = simulator.child;
    stage.serveArgs = ["serve", "--listen", `127.0.0.1:${await freePort()}`, "--store", "memory", "--credentials", "env",
      "--upstream", simulator.match[1], "--ca-file", ca];
    stage.port = Number(stage.serveArgs[2].split(":")[1]);
    await stage.serve();
    await stage.open(...flags);
    return stage;
  }

  async serve() {
    const env = { ...this.env, NEXUDUS_EMAIL: "ada@example.test", NEXUDUS_PASSWORD: "marker-password", NEXUDUS_PROXY_LOG_FORMAT: "human" };
    this.daemon = (await start("nexudus-proxy", this.serveArgs, env, /logged in/, "stderr")).child;
  }

  async open(...flags) {
    const { child, match } = await start("nexudus-proxy", ["ui", "--no-open", "--json", ...flags], this.env, /"url":"([^"]+)"/);
    this.command = child;
    this.link = match[1];
    this.origin = new URL(this.link).origin;
  }

  async endDaemon() { this.daemon.kill("SIGTERM"); await ended(this.daemon); }

  async endCommand() { this.command.kill("SIGINT"); await ended(this.command); }

  /** Runs a command to its end. Resolves to what it printed. */
  run(...args) {
    return new Promise((resolve, reject) => {
      execFile(path.join(BIN, "nexudus-proxy"), args, { env: this.env, cwd: this.home }, (error, out) => (error ? reject(error) : resolve(out)));
    });
  }

  /** Writes an archive of what `work` asks. Resolves to its text once `wanted` requests stand in it. */
  async archive(flags, wanted, work) {
    const file = path.join(this.home, `${Date.now()}.har`);
    const tail = spawn(path.join(BIN, "nexudus-proxy"), ["tail", "--har", file, ...flags], { env: this.env, stdio: "ignore" });
    // The file is there before the command listens for the first request.
    const begun = Date.now();
    // Node reads a file in parts, between which the command may write: whole is what it has left in the end.
    const read = () => {
      try {
        return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, "utf8")).log.entries : [];
      } catch (error) {
        if (error instanceof SyntaxError) return [];
        throw error;
      }
    };
    const asked = () => read().filter((entry) => !entry.request.url.endsWith("/begin")).length;
    while (read().length === 0) {
      if (Date.now() - begun > 20_000) throw new Error("nothing is written");
      await this.ask("/begin", { method: "BREW" });
    }
    await work();
    while (asked() < wanted) {
      if (Date.now() - begun > 20_000) throw new Error(`${asked()} of ${wanted} are written`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    tail.kill("SIGINT");
    await ended(tail);
    return fs.readFileSync(file, "utf8");
  }

  /** Asks the daemon. Resolves to the status once the whole answer is here. */
  ask(target, { method = "GET", headers = {}, body, agent } = {}) {
    return new Promise((resolve, reject) => {
      const request = http.request({ host: "127.0.0.1", port: this.port, path: target, method, headers, agent }, (response) => {
        response.resume().on("end", () => resolve(response.statusCode));
      });
      request.on("error", reject);
      request.end(body);
    });
  }

  async stop() {
    for (const child of [this.command, this.daemon, this.simulator]) {
      child?.kill("SIGKILL");
      if (child) await ended(child);
    }
    fs.rmSync(this.home, { recursive: true, force: true });
  }
}

/** Imports an archive as a person does with the button of Chromium's Network panel. Resolves to what the panel has then. */
export async function imported(chrome, text) {
  const page = await chrome.newPage();
  await page.goto("devtools://devtools/bundled/devtools_app.html");
  // The start of the tools makes the panel; they have no page to look at.
  await page.waitForFunction(() => globalThis.localStorage && document.body?.childElementCount > 0);
  const found = await page.evaluate(async (archive) => {
    const at = "devtools://devtools/bundled/";
    const { NetworkPanel } = await import(`${at}panels/network/network.js`);
    const { NetworkLog } = await import(`${at}models/logs/logs.js`);
    for (let tries = 0; ; tries += 1) {
      try {
        const panel = NetworkPanel.NetworkPanel.instance();
        await panel.networkLogView.onLoadFromFile(new File([archive], "a.har"));
        break;
      } catch (error) {
        if (tries === 100) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    return Promise.all(NetworkLog.NetworkLog.instance().requests().map(async (request) => {
      const content = await request.requestContentData();
      const headers = (all) => all.map(({ name, value }) => `${name}: ${value}`);
      return { url: request.url(), method: request.requestMethod, status: request.statusCode, ms: request.duration * 1000, mime: request.mimeType,
        text: content.text ?? null, posted: await request.requestFormData(), sent: headers(request.requestHeaders()), got: headers(request.responseHeaders) };
    }));
  }, text);
  await page.close();
  return found;
}

export function freePort() {
  return new Promise((resolve) => {
    const server = http.createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export async function browser(...args) {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", ...args] });
}

/** Opens the page of a stage. What the browser complains of is collected. */
export async function openPage(context, link) {
  const page = await context.newPage();
  page.complaints = [];
  page.on("console", (message) => { if (message.type() === "error" && !message.text().includes("404")) page.complaints.push(message.text()); });
  page.on("pageerror", (error) => page.complaints.push(error.message));
  page.on("dialog", (dialog) => { page.complaints.push(`dialog ${dialog.message()}`); dialog.dismiss(); });
  await page.goto(link);
  await page.waitForSelector(".state.good");
  return page;
}
