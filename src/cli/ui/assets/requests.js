// The live list of requests: a hundred thousand rows, of which only the visible ones exist.

import { get } from "./api.js";
import { content, detail } from "./detail.js";
import { h, setText } from "./dom.js";
import { METHODS, Matches, SLOW_MS, matcher } from "./filter.js";
import { clock, count, curl, har, isFailed, isThrottled, micros } from "./format.js";
import { requests, state } from "./store.js";

const ROW = 28;
const SPARE_ROWS = 6;
const COLUMNS = ["Time", "Status", "Method", "Path", "Client", "Program", "Took"];

/** The choice of the person, kept while another view is open. */
const chosen = { path: "", client: "", program: "", method: "", status: "", flags: new Set() };

export function requestsView(session) {
  const matches = new Matches(requests);
  const total = h("p", { class: "dim", role: "status" });
  const spacer = h("div", { class: "spacer", role: "rowgroup" });
  // The grid itself scrolls: the keyboard reaches the one and the other.
  const grid = h("div", { class: "list", role: "grid", tabindex: "0", "aria-label": "Requests, the newest first", "aria-colcount": COLUMNS.length },
    h("div", { role: "rowgroup" }, h("div", { role: "row", class: "row head", "aria-rowindex": "1" }, COLUMNS.map((name) => h("span", { role: "columnheader" }, name)))),
    spacer);
  const side = h("section", { class: "detail", "aria-label": "The chosen request", hidden: true });
  const pool = new Map();
  /** Lines that left the view: making elements is most of the time of a frame. */
  const spare = [];
  let selected = null;
  let isPaused = false;
  let isOpen = false;
  let base = "";

  const form = filters(() => {
    matches.setFilter(matcher(chosen));
    grid.scrollTop = 0;
    render();
  });
  const pause = h("button", { type: "button", "aria-pressed": "false", onclick: () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    setText(pause, isPaused ? "Go on" : "Pause");
    if (!isPaused) { matches.update(); render(); }
  } }, "Pause");
  const clear = h("button", { type: "button", onclick: () => {
    requests.clear();
    select(null);
    matches.setFilter(matcher(chosen));
    render();
  } }, "Clear");
  const save = h("button", { type: "button", onclick: () => saveHar() }, "Save as HAR");
  const element = h("div", { class: "requests" },
    h("h2", { class: "hidden" }, "Requests"), form.element,
    h("div", { class: "bar" }, total, h("span", { class: "actions" }, pause, clear, save)),
    h("div", { class: "split" }, grid, side));

  /** How much of the list is seen: the head of the table stands before it. */
  const view = () => Math.max(0, grid.clientHeight - ROW);
  const isSelected = (number) => selected !== null && number === selected;

  function row(index) {
    const number = matches.at(index);
    const request = requests.at(number);
    if (!request) return null;
    let cells = pool.get(index);
    if (!cells && spare.length > 0) {
      cells = spare.pop();
      pool.set(index, cells);
    }
    if (!cells) {
      const spans = COLUMNS.map(() => h("span", { role: "gridcell" }));
      const line = h("div", { role: "row", class: "row", onclick: () => { select(cells.number); open(true); } }, spans);
      cells = { line, spans, number: -1 };
      pool.set(index, cells);
    }
    if (cells.number !== number) {
      cells.number = number;
      cells.line.id = `request-${number}`;
      const texts = [clock(request.time), request.status === null ? "left" : String(request.status), request.method,
        request.path, request.client ?? "", request.program ?? "", micros((request.times_us?.total) ?? request.elapsed_ms * 1000)];
      texts.forEach((text, at) => { cells.spans[at].textContent = text; });
      cells.spans[3].title = request.path;
      cells.spans[1].className = isFailed(request) ? "bad" : "good";
      cells.spans[6].className = isThrottled(request) || request.elapsed_ms >= SLOW_MS ? "warn" : "";
    }
    cells.line.style.transform = `translateY(${index * ROW}px)`;
    cells.line.setAttribute("aria-rowindex", String(index + 2));
    cells.line.setAttribute("aria-selected", String(isSelected(number)));
    return cells.line;
  }

  function render() {
    const length = matches.length;
    spacer.style.height = `${length * ROW}px`;
    grid.setAttribute("aria-rowcount", String(length + 1));
    const first = Math.max(0, Math.floor(grid.scrollTop / ROW) - SPARE_ROWS);
    const last = Math.min(length, Math.ceil((grid.scrollTop + view()) / ROW) + SPARE_ROWS);
    for (const [index, cells] of pool) {
      if (index < first || index >= last) {
        pool.delete(index);
        spare.push(cells);
      }
    }
    for (let index = first; index < last; index += 1) {
      const line = row(index);
      if (line && !line.isConnected) spacer.append(line);
    }
    for (const cells of spare) cells.line.remove();
    const isShown = selected !== null && document.getElementById(`request-${selected}`);
    if (isShown) grid.setAttribute("aria-activedescendant", `request-${selected}`);
    else grid.removeAttribute("aria-activedescendant");
    const lost = state.lost > 0 ? `; ${count(state.lost, "request")} not shown, because the page was too slow` : "";
    setText(total, requests.length === 0 ? "No request has come since this page was opened."
      : `${length.toLocaleString("en")} of ${count(requests.length, "request")}${lost}`);
  }

  function indexOf(number) {
    for (let index = 0; index < matches.length; index += 1) {
      const at = matches.at(index);
      if (at === number) return index;
      if (at < number) return -1;
    }
    return -1;
  }

  function select(number) {
    selected = number;
    showDetail();
    render();
  }

  function open(wanted) {
    isOpen = wanted;
    showDetail();
  }

  function showDetail() {
    const request = selected === null ? undefined : requests.at(selected);
    side.hidden = !isOpen || !request;
    side.replaceChildren(...(side.hidden ? [] : detail(request, base, { copy, close: () => { open(false); grid.focus(); } })));
    if (!side.hidden && session.bodies) showContent(request.request_id);
  }

  /** Shows what was captured of the chosen request, unless another one is chosen meanwhile. */
  async function showContent(id) {
    const part = h("section", { class: "content", "aria-label": "What was captured" });
    side.append(part);
    try {
      part.append(...content(await get(`/v1/captures/${id}`)));
    } catch (failure) {
      part.append(h("p", { class: "dim" }, failure.message));
    }
  }

  async function copy(button) {
    const request = selected === null ? undefined : requests.at(selected);
    if (!request) return;
    const text = curl(request, base);
    try {
      await navigator.clipboard.writeText(text);
      if (button) setText(button, "Copied");
    } catch {
      // A browser without permission to write there: the command is shown beside it.
      if (button) setText(button, "Not permitted: copy the text below");
    }
  }

  function move(step) {
    const from = selected === null ? -1 : indexOf(selected);
    const index = Math.min(matches.length - 1, Math.max(0, from + step));
    if (matches.length === 0) return;
    const top = index * ROW;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + ROW > grid.scrollTop + view()) grid.scrollTop = top + ROW - view();
    select(matches.at(index));
  }

  async function saveHar() {
    const all = Array.from({ length: matches.length }, (_, index) => requests.at(matches.at(matches.length - 1 - index))).filter(Boolean);
    const contents = session.bodies ? await captured(all) : new Map();
    const text = JSON.stringify(har(all, base, state.status?.version ?? session.version, contents));
    const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    h("a", { href: url, download: "nexudus-proxy.har" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  let isWaiting = false;
  grid.addEventListener("scroll", () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => { isWaiting = false; render(); });
  }, { passive: true });
  const sizes = new ResizeObserver(render);
  sizes.observe(grid);
  matches.setFilter(matcher(chosen));

  return {
    element,
    update(what) {
      const address = state.status?.listening.tcp[0];
      base = address ? `http://${address}` : "http://localhost:6398";
      if (!what.has("requests") || isPaused) return;
      const added = matches.update();
      // A person who has scrolled reads on where they are.
      if (grid.scrollTop > 0) grid.scrollTop += added * ROW;
      form.learn();
      render();
    },
    key(name) {
      if (name === "/") form.focus();
      else if (name === "j" || name === "ArrowDown") move(1);
      else if (name === "k" || name === "ArrowUp") move(-1);
      else if (name === "Enter" && selected !== null && !document.activeElement?.matches("a, button")) open(!isOpen);
      else if (name === "Escape") open(false);
      else if (name === "c") copy(null);
      else return false;
      return true;
    },
    close() { sizes.disconnect(); },
  };
}

/** What was captured of these requests, as far as it is kept: the latest first, a few at a time. */
async function captured(all) {
  const contents = new Map();
  const left = all.map((request) => request.request_id);
  let gone = 0;
  const load = async () => {
    // The daemon forgets the oldest first: behind a few that are gone, none is kept.
    while (left.length > 0 && gone < 64) {
      const id = left.pop();
      const found = await get(`/v1/captures/${id}`).catch(() => null);
      if (found) contents.set(id, found);
      else gone += 1;
    }
  };
  await Promise.all(Array.from({ length: 4 }, load));
  return contents;
}

/** The fields that choose requests. */
function filters(changed) {
  const text = (name, label) => h("label", {}, label, h("input", {
    type: "search", name, value: chosen[name], autocomplete: "off", spellcheck: "false",
    list: name === "path" ? undefined : `known-${name}`,
    oninput: (event) => { chosen[name] = event.target.value; changed(); },
  }));
  const choice = (name, label, values) => h("label", {}, label, h("select", {
    name, onchange: (event) => { chosen[name] = event.target.value; changed(); },
  }, h("option", { value: "" }, "any"), values.map((value) => h("option", { value, selected: chosen[name] === value }, value === "none" ? "client left" : value))));
  const flag = (name, label) => h("label", { class: "check" }, h("input", {
    type: "checkbox", name, checked: chosen.flags.has(name),
    onchange: (event) => { if (event.target.checked) chosen.flags.add(name); else chosen.flags.delete(name); changed(); },
  }), label);
  const known = new Map([["client", new Set()], ["program", new Set()]]);
  const lists = new Map([...known.keys()].map((name) => [name, h("datalist", { id: `known-${name}` })]));
  const path = text("path", "Path");
  const element = h("form", { class: "filters", role: "search", "aria-label": "Filter the requests", onsubmit: (event) => event.preventDefault() },
    path, text("client", "Client"), text("program", "Program"),
    choice("method", "Method", METHODS),
    choice("status", "Status", ["2xx", "3xx", "4xx", "5xx", "401", "403", "404", "429", "500", "502", "503", "none"]),
    h("fieldset", {}, h("legend", { class: "hidden" }, "Only requests that are"),
      flag("slow", "slow (1 s)"), flag("failed", "failed"), flag("throttled", "throttled"), flag("redacted", "redacted")),
    [...lists.values()]);
  let looked = 0;
  return {
    element,
    focus() { path.querySelector("input").focus(); },
    /** Offers the names that have come: at most a hundred, since any program can name itself. */
    learn() {
      for (let number = Math.max(looked, requests.first); number < requests.end; number += 1) {
        for (const [name, names] of known) {
          const value = requests.at(number)[name];
          if (!value || names.has(value) || names.size >= 100) continue;
          names.add(value);
          lists.get(name).append(h("option", { value }));
        }
      }
      looked = requests.end;
    },
  };
}
