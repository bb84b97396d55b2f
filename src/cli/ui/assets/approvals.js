// Calls that wait for a person. The view is there if the daemon offers `/v1/approvals`.

import { get, post } from "./api.js";
import { confirmed, h, setText } from "./dom.js";
import { bytes, clock, duration } from "./format.js";

const INTERVAL = 2000;

export function approvals(session) {
  const list = h("div", { class: "clients" });
  const error = h("p", { role: "alert", class: "bad" });
  const element = h("div", {}, h("section", { class: "card wide", "aria-label": "Approvals" },
    h("h2", {}, "Calls that wait for a person"), error, list));
  let shown = "";
  let isOpen = true;

  async function load() {
    try {
      const { calls } = await get("/v1/approvals");
      setText(error, "");
      // The time that is left changes: a list that is otherwise the same keeps its buttons and their focus.
      const text = JSON.stringify(calls.map((call) => [call.id, call.phase, call.name, call.name_error]));
      if (text === shown) return;
      shown = text;
      if (calls.length === 0) list.replaceChildren(h("p", {}, "No call waits."));
      else list.replaceChildren(...calls.map(card));
    } catch (failure) {
      tell(failure);
    }
  }

  const tell = (failure) => setText(error, `${failure.message} ${failure.hint ?? ""}`);

  async function decide(call, approve) {
    const verb = approve ? "Approve" : "Deny";
    if (!await confirmed(`${verb} this call?`, `${call.method} ${call.target}. The decision holds for this one call.`, verb)) return;
    try {
      await post("/v1/approvals", { id: call.id, approve });
      shown = "";
    } catch (failure) {
      tell(failure);
    }
    await load();
  }

  function card(call) {
    const body = h("pre", { tabindex: "0", hidden: true, "aria-label": "The body of the call" });
    const show = h("button", { type: "button", onclick: async () => {
      try {
        const whole = await get(`/v1/approvals/${encodeURIComponent(call.id)}`);
        body.textContent = whole.body ?? (whole.body_base64 ? `base64: ${whole.body_base64}` : "There is no body.");
        body.hidden = false;
      } catch (failure) {
        tell(failure);
      }
    } }, `Show the body (${bytes(call.body_bytes)})`);
    const rows = [
      ["Client", call.client ?? `without a key${call.uid === null ? "" : `, user ${call.uid}`}`],
      ["About", [call.subject, call.name, call.name_error && `its name is not known: ${call.name_error}`].filter(Boolean).join(", ")],
      ["Command", call.command], ["Rules", (call.rules ?? []).join(", ")], ["To", call.origin],
      ["Type", call.content_type], ["Asked", clock(call.asked)],
      ["State", call.phase === "waiting" ? `waits; forgotten in ${duration(call.left_s)}` : call.phase],
    ];
    return h("article", { class: "card" },
      h("h3", {}, `${call.method} ${call.target}`),
      h("dl", { class: "facts" }, rows.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      h("p", { class: "actions" }, show,
        session.read_only || call.phase !== "waiting" ? null : h("button", { type: "button", onclick: () => decide(call, true) }, "Approve"),
        session.read_only || call.phase !== "waiting" ? null : h("button", { type: "button", class: "danger", onclick: () => decide(call, false) }, "Deny")),
      body);
  }

  async function poll() {
    while (isOpen) {
      await load();
      await new Promise((resolve) => setTimeout(resolve, INTERVAL));
    }
  }
  poll();
  return { element, close() { isOpen = false; } };
}
