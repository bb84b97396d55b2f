// What the rules say: one request, judged for each client.

import { post } from "./api.js";
import { h, setText, table } from "./dom.js";
import { METHODS } from "./filter.js";

export function policy() {
  const result = h("div", { role: "status" });
  const error = h("p", { role: "alert", class: "bad" });
  const submit = async (event) => {
    event.preventDefault();
    const value = (name) => event.target.elements.namedItem(name).value.trim();
    try {
      const { verdicts } = await post("/ui/policy", { method: value("method"), path: value("path"), command: value("command") || null });
      setText(error, "");
      result.replaceChildren(table(`${value("method")} ${value("path")}, for each client`, ["Client", "Verdict", "Rule", "Why"], verdicts.map((verdict) => [
        verdict.client ?? "without a key",
        h("span", { class: verdict.allowed ? "good" : "bad" }, verdict.allowed ? "allowed" : `refused (${verdict.code})`),
        verdict.rule ?? "", [verdict.reason, verdict.hint, verdict.note].filter(Boolean).join(" "),
      ])));
    } catch (failure) {
      result.replaceChildren();
      setText(error, `${failure.message} ${failure.hint ?? ""}`);
    }
  };
  const element = h("div", { class: "policy" }, h("section", { class: "card wide", "aria-label": "Policy" },
    h("h2", {}, "Would it be forwarded?"),
    h("p", {}, "Nothing is sent. The running daemon's rules judge the request for each client."),
    h("form", { class: "add", onsubmit: submit },
      h("label", {}, "Method", h("select", { name: "method" }, METHODS.map((method) => h("option", {}, method)))),
      h("label", { class: "rules" }, "Path", h("input", { name: "path", required: true, value: "/api/spaces/coworkers", autocomplete: "off", spellcheck: "false" })),
      h("label", {}, "Command of Nexudus, if one is run", h("input", { name: "command", placeholder: "COWORKER_DELETE", autocomplete: "off", spellcheck: "false" })),
      h("p", { class: "actions" }, h("button", {}, "Try"))),
    error, result));
  return { element };
}
