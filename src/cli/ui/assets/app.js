// Starts the page: the code from the address, the views, the keyboard, the link to the daemon.

import { begin, forget, get, hasToken, takeCode } from "./api.js";
import { approvals } from "./approvals.js";
import { clients } from "./clients.js";
import { h, openDialog, setText } from "./dom.js";
import { overview } from "./overview.js";
import { policy } from "./policy.js";
import { requestsView } from "./requests.js";
import { follow, listen, state } from "./store.js";

const VIEWS = new Map([
  ["overview", { title: "Overview", make: overview }],
  ["requests", { title: "Requests", make: requestsView }],
  ["clients", { title: "Clients", make: clients }],
  ["policy", { title: "Policy", make: policy }],
  ["approvals", { title: "Approvals", make: approvals }],
]);

const SHORTCUTS = [
  ["1 … 5", "Go to a view"], ["/", "Filter the requests by path"], ["j or ↓", "Next request"],
  ["k or ↑", "Previous request"], ["Enter", "Show the request, or close it"], ["Esc", "Leave a field or a dialog"],
  ["c", "Copy the request as a command of curl"], ["?", "Show this list"],
];

const page = { session: null, view: null, name: "" };
const main = document.getElementById("main");

function viewNames() {
  return [...VIEWS.keys()].filter((name) => name !== "approvals" || page.session?.approvals);
}

function show() {
  const asked = location.hash.replace(/^#\/?/, "");
  const name = viewNames().includes(asked) ? asked : "overview";
  if (page.name === name) return;
  page.view?.close?.();
  page.name = name;
  const { title, make } = VIEWS.get(name);
  document.title = `${title} · nexudus-proxy`;
  page.view = make(page.session);
  main.replaceChildren(page.view.element);
  page.view.update?.(new Set(["status", "history", "requests", "link", "calls"]));
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.getAttribute("href") === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function showNavigation() {
  document.getElementById("nav").replaceChildren(...viewNames().map((name) =>
    h("a", { href: `#/${name}` }, VIEWS.get(name).title, name === "approvals" ? h("span", { id: "waiting" }) : null)));
}

/** Says on every view how many calls wait for a person. */
function showWaiting() {
  const count = (state.calls ?? []).filter((call) => call.phase === "waiting").length;
  setText(document.getElementById("waiting"), count > 0 ? ` (${count})` : "");
}

/** An error of the daemon as a sentence: it begins small and has no period. */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1).replace(/[^.]$/, "$&.");

function showBanner() {
  const banner = document.getElementById("banner");
  const sentences = {
    "starting": "", "live": "",
    "daemon-gone": `${sentence(state.problem?.message ?? "The daemon has ended.")} Waiting for the next one…`,
    "command-gone": "The command that serves this page has ended. Start it again: nexudus-proxy ui",
    "refused": `${sentence(state.problem?.message ?? "")} ${state.problem?.hint ?? ""}`,
  };
  setText(banner, sentences[state.link]);
  banner.classList.toggle("shown", banner.textContent !== "");
}

function showHelp() {
  openDialog("Keyboard shortcuts", [
    h("dl", { class: "keys" }, SHORTCUTS.map(([key, does]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, does)]).flat()),
    h("form", { method: "dialog" }, h("button", { autofocus: true }, "Close")),
  ]);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("dialog").open) return;
  const isField = event.target instanceof Element && event.target.matches("input, select, textarea");
  if (event.key === "Escape" && isField) {
    event.target.blur();
    return;
  }
  if (isField) return;
  if (event.key === "?") {
    showHelp();
  } else if (/^[1-5]$/.test(event.key)) {
    const name = viewNames()[Number(event.key) - 1];
    if (name) location.hash = `#/${name}`;
  } else if (event.key === "/") {
    location.hash = "#/requests";
    show();
    page.view.key?.("/");
  } else if (!page.view?.key?.(event.key, event)) {
    return;
  }
  event.preventDefault();
}

/** Asks for a code: for a link that has been used, and where a code is typed by hand. */
function askCode(problem) {
  return new Promise((resolve) => {
    const input = h("input", { id: "code", name: "code", autocomplete: "off", spellcheck: "false", required: true });
    const error = h("p", { role: "alert", class: "bad" }, problem ?? "");
    const submit = async (event) => {
      event.preventDefault();
      try {
        await begin(input.value.trim());
        resolve();
      } catch (failure) {
        setText(error, `${failure.message} ${failure.hint ?? ""}`);
        input.select();
      }
    };
    document.title = "Code · nexudus-proxy";
    main.replaceChildren(h("section", { class: "card" },
      h("h2", {}, "Enter the code of the command"),
      h("p", {}, "The command ", h("code", {}, "nexudus-proxy ui"),
        " prints a link with a code. Each link works once, for 60 seconds. Press Enter there for another one."),
      h("form", { onsubmit: submit },
        h("label", { for: "code" }, "Code"), input,
        h("button", {}, "Open")),
      error));
    input.focus();
  });
}

async function authenticate() {
  const code = takeCode();
  let problem = null;
  if (code !== null) {
    try {
      await begin(code);
    } catch (error) {
      problem = `${error.message} ${error.hint ?? ""}`;
    }
  }
  for (;;) {
    if (!hasToken() || problem !== null) await askCode(problem);
    try {
      const session = await get("/ui/session");
      // Daemons that hold no call for a person have no such path.
      const approvals = await get("/v1/approvals").then(() => true, () => false);
      return { ...session, approvals };
    } catch (error) {
      // The token of an earlier command.
      forget();
      problem = error.message;
    }
  }
}

async function start() {
  document.getElementById("skip").addEventListener("click", () => main.focus());
  document.getElementById("help").addEventListener("click", showHelp);
  page.session = await authenticate();
  showNavigation();
  addEventListener("hashchange", show);
  addEventListener("keydown", onKey);
  listen((what) => {
    if (what.has("link")) showBanner();
    if (what.has("calls")) showWaiting();
    page.view?.update?.(what);
  });
  show();
  follow(page.session);
}

start();
