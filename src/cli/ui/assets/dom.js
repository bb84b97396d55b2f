// Makes elements. Texts become text nodes and nothing else: no string is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element with attributes, listeners (`onclick`) and children. */
export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Makes an element of SVG. */
export function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on") && typeof value === "function") {
      element.addEventListener(name.slice(2), value);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets the text of an element if it differs: an unchanged text is not read out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Makes a table with a caption; `rows` are arrays of texts or elements. */
export function table(caption, heads, rows) {
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {},
      h("caption", {}, caption),
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, at) =>
        at === 0 ? h("th", { scope: "row" }, cell) : h("td", {}, cell)))))));
}

const dialog = () => document.getElementById("dialog");

/** Opens the dialog. Returns a function that closes it; `onclose` runs once, however it closes. */
export function openDialog(title, content, onclose) {
  const element = dialog();
  element.replaceChildren(h("h2", { id: "dialog-title" }, title), ...content);
  const ended = () => {
    element.replaceChildren();
    if (onclose) onclose();
  };
  element.addEventListener("close", ended, { once: true });
  if (!element.open) element.showModal();
  return () => element.close();
}

/** Asks a question; resolves to whether the person agrees. */
export function confirmed(title, sentence, action) {
  return new Promise((resolve) => {
    let agreed = false;
    const close = openDialog(title, [
      h("p", {}, sentence),
      h("p", { class: "actions" },
        h("button", { type: "button", class: "danger", onclick: () => { agreed = true; close(); } }, action),
        h("button", { type: "button", autofocus: true, onclick: () => close() }, "Cancel")),
    ], () => resolve(agreed));
  });
}
