// The named clients: what each may do and has done; new ones, and the end of old ones.

import { get, post } from "./api.js";
import { confirmed, h, openDialog, setText, table } from "./dom.js";
import { count, duration } from "./format.js";
import { state } from "./store.js";

const EXPIRIES = [["never", ""], ["in 1 hour", "3600"], ["in 8 hours", "28800"], ["in 1 day", "86400"], ["in 30 days", "2592000"]];

export function clients(session) {
  const list = h("div", {});
  const error = h("p", { role: "alert", class: "bad" });
  const form = session.read_only
    ? h("p", { class: "dim" }, "This page only shows: the command was started with --read-only.")
    : addForm(add);
  const element = h("div", { class: "clients" },
    h("section", { class: "card wide", "aria-label": "Clients" }, h("h2", {}, "Clients"), error, list),
    h("section", { class: "card wide", "aria-label": "A new client" }, h("h2", {}, "A new client"), form));
  let records = null;

  async function load() {
    try {
      records = await get("/v1/clients");
      setText(error, "");
    } catch (failure) {
      setText(error, `${failure.message} ${failure.hint ?? ""}`);
    }
    render();
  }

  async function add(name, limits) {
    const changed = await post("/v1/clients", { action: "add", name, limits });
    showKey(name, changed.key);
    await load();
  }

  async function revoke(name) {
    const agreed = await confirmed(`Revoke ${name}?`, "Its key stops working at once, for every program that has it.", "Revoke");
    if (!agreed) return;
    try {
      await post("/v1/clients", { action: "revoke", name });
    } catch (failure) {
      setText(error, `${failure.message} ${failure.hint ?? ""}`);
    }
    await load();
  }

  function render() {
    if (records === null) return;
    if (records.length === 0) {
      list.replaceChildren(h("p", {}, "There is no named client. Programs of this user need no key."));
      return;
    }
    const known = new Map((state.status?.clients ?? []).map((client) => [client.name, client]));
    list.replaceChildren(table("Named clients", ["Name", "May", "Rate", "Used", "Refused", "Last", "Expires", "Change"], records.map((record) => {
      const status = known.get(record.name);
      const { limits } = record;
      const used = limits.max_requests ? `${record.used ?? "unknown"} of ${limits.max_requests}` : count(record.requests, "request");
      const left = limits.expires ? limits.expires - Date.now() / 1000 : null;
      return [record.name, status?.may ?? "", limits.rate ?? "", used, String(record.refused),
        record.idle_s === null ? "never" : `${duration(record.idle_s)} ago`,
        record.expired ? h("span", { class: "bad" }, "expired") : left === null ? "never" : `in ${duration(left)}`,
        session.read_only ? "–" : h("button", { type: "button", class: "danger", "aria-label": `Revoke ${record.name}`, onclick: () => revoke(record.name) }, "Revoke")];
    })));
  }

  load();
  return { element, update(what) { if (what.has("status")) render(); } };
}

/** Shows a key once. The text is gone with the dialog. */
function showKey(name, key) {
  const copied = h("span", { role: "status" });
  openDialog(`The key of ${name}`, [
    h("p", {}, "Copy it now: it is stored nowhere and shown once."),
    h("pre", { tabindex: "0" }, key),
    h("form", { method: "dialog", class: "actions" },
      h("button", { type: "button", onclick: async () => {
        try {
          await navigator.clipboard.writeText(key);
          setText(copied, "Copied.");
        } catch {
          setText(copied, "The browser does not permit it: select the text.");
        }
      } }, "Copy"),
      h("button", {}, "Close"), copied),
  ]);
}

function addForm(add) {
  const field = (label, attributes) => h("label", {}, label, h("input", { autocomplete: "off", spellcheck: "false", ...attributes }));
  const error = h("p", { role: "alert", class: "bad" });
  const rules = (text) => text.split("\n").map((rule) => rule.trim()).filter(Boolean);
  const submit = async (event) => {
    event.preventDefault();
    const form = event.target;
    const value = (name) => form.elements.namedItem(name).value.trim();
    const number = (name) => (value(name) === "" ? null : Number(value(name)));
    const limits = {
      read_only: form.elements.namedItem("read_only").checked,
      allow: rules(value("allow")), deny: rules(value("deny")),
      expires: value("expires") === "" ? null : Math.floor(Date.now() / 1000) + Number(value("expires")),
      rate: value("rate") === "" ? null : value("rate"), max_requests: number("max_requests"),
    };
    try {
      await add(value("name"), limits);
      form.reset();
      setText(error, "");
    } catch (failure) {
      setText(error, `${failure.message} ${failure.hint ?? ""}`);
    }
  };
  return h("form", { class: "add", onsubmit: submit },
    field("Name", { name: "name", required: true, maxlength: "64" }),
    field("Rate, such as 5/s", { name: "rate", maxlength: "20" }),
    field("Requests in all", { name: "max_requests", type: "number", min: "1" }),
    h("label", {}, "Expires", h("select", { name: "expires" }, EXPIRIES.map(([label, value]) => h("option", { value }, label)))),
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "read_only", checked: true }), "reads only"),
    h("label", { class: "rules" }, "Allow only, one rule a line", h("textarea", { name: "allow", rows: "2", spellcheck: "false", placeholder: "GET /api/spaces/**" })),
    h("label", { class: "rules" }, "Deny, one rule a line", h("textarea", { name: "deny", rows: "2", spellcheck: "false", placeholder: "DELETE /**" })),
    h("p", { class: "actions" }, h("button", {}, "Add")), error);
}
