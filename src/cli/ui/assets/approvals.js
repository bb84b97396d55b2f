// Calls that wait for a person. The view is there if the daemon offers `/v1/approvals`.

import { get, post } from "./api.js";
import { confirmed, h, setText } from "./dom.js";
import { bytes, clock, duration, visible } from "./format.js";
import { refreshCalls, state } from "./store.js";

/** Calls are shown as they come; now and then the list is asked for, because old ones are forgotten. */
const INTERVAL = 10_000;

export function approvals(session) {
  const list = h("div", { class: "clients" });
  const error = h("p", { role: "alert", class: "bad" });
  const element = h("div", {}, h("section", { class: "card wide", "aria-label": "Approvals" },
    h("h2", {}, "Calls that wait for a person"), error, list));
  let shown = "";
  let isOpen = true;

  const tell = (failure) => setText(error, `${failure.message} ${failure.hint ?? ""}`);

  async function load() {
    try {
      await refreshCalls();
      setText(error, "");
    } catch (failure) {
      tell(failure);
    }
  }

  function render() {
    const { calls } = state;
    if (calls === null) return;
    // The time that is left changes: a list that is otherwise the same keeps its buttons and their focus.
    const text = JSON.stringify(calls.map((call) => [call.id, call.phase, call.name, call.name_error]));
    if (text === shown) return;
    shown = text;
    if (calls.length === 0) list.replaceChildren(h("p", {}, "No call waits."));
    else list.replaceChildren(...calls.map(card));
  }

  async function decide(call, approve) {
    const verb = approve ? "Approve" : "Deny";
    if (!await confirmed(`${verb} this call?`, `${visible(`${call.method} ${call.target}`)}. The decision holds for this one call.`, verb)) return;
    try {
      await post("/v1/approvals", { id: call.id, approve });
      shown = "";
    } catch (failure) {
      tell(failure);
    }
    await load();
  }

  /** Shows the body as it will be sent, each letter of it. */
  async function showBody(call, body) {
    try {
      const whole = await get(`/v1/approvals/${encodeURIComponent(call.id)}`);
      const text = whole.body ?? (whole.body_base64 ? `base64: ${whole.body_base64}` : null);
      setText(body, text === null ? "There is no body." : text.split("\n").map(visible).join("\n"));
    } catch (failure) {
      setText(body, failure.message);
    }
  }

  function card(call) {
    const body = h("pre", { tabindex: "0", "aria-label": "The body of the call" });
    showBody(call, body);
    const rows = [
      ["Client", call.client ?? `without a key${call.uid === null ? "" : `, user ${call.uid}`}`],
      ["About", [call.subject, call.name, call.name_error && `its name is not known: ${call.name_error}`].filter(Boolean).join(", ")],
      ["Command", call.command], ["Rules", (call.rules ?? []).join(", ")], ["To", call.origin],
      ["Type", call.content_type], ["Body", bytes(call.body_bytes)], ["Asked", clock(call.asked)],
      ["State", call.phase === "waiting" ? `waits; forgotten in ${duration(call.left_s)}` : call.phase],
    ];
    const action = (label, approve, kind) => session.read_only || call.phase !== "waiting" ? null
      : h("button", { type: "button", class: kind, onclick: () => decide(call, approve) }, label);
    return h("article", { class: "card" },
      h("h3", {}, visible(`${call.method} ${call.target}`)),
      h("dl", { class: "facts" }, rows.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, visible(String(value)))])),
      body,
      h("p", { class: "actions" }, action("Approve", true), action("Deny", false, "danger")));
  }

  async function poll() {
    while (isOpen) {
      if (!document.hidden) await load();
      await new Promise((resolve) => setTimeout(resolve, INTERVAL));
    }
  }
  poll();
  return { element, update(what) { if (what.has("calls")) render(); }, close() { isOpen = false; } };
}
