// The page: the list of models, the card of a model, and requests to it.
import { tryOut } from "./tasks.js";

const $ = (id) => document.getElementById(id);
let key = "";

/** An element with attributes, properties and children; `on…` are listeners. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (attribute.startsWith("on")) node.addEventListener(attribute.slice(2), value);
    else if (value === true) node.setAttribute(attribute, "");
    else if (value !== false && value != null) node.setAttribute(attribute, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

/** Sends a request; the answer's JSON. Throws an Error with what the server says. */
export async function ask(path, body, signal) {
  const response = await send(path, body, signal);
  return response.json();
}

/** Sends a request; the response, whose body is still to be read. */
export async function send(path, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  let response;
  try {
    const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
    response = await fetch(path, { ...options, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not respond.");
  }
  if (!response.ok) {
    const said = await response.json().catch(() => ({}));
    throw Object.assign(new Error(said.error || `The server responds with status ${response.status}.`), { status: response.status });
  }
  return response;
}

/** A name that may be broken after each underscore. */
function breakable(name) {
  return name.split(/(?<=_)/).flatMap((part) => [part, el("wbr")]);
}

function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value.toLocaleString("en") : String(value);
}

function metric(name, value) {
  const percent = /accuracy|exact_match|top/.test(name) && value <= 1;
  return percent ? `${(100 * value).toFixed(2)} %` : Number(value).toPrecision(4);
}

function facts(pairs, kind = "") {
  return el("dl", { class: kind }, ...pairs.filter(([, value]) => value != null && value !== "").flatMap(([name, value]) =>
    [el("dt", {}, name), el("dd", {}, value)]));
}

function paper(card) {
  if (!card.title) return null;
  const link = /^https:/.test(card.link || "") ? el("a", { href: card.link, rel: "noopener" }, card.title) : card.title;
  return el("span", {}, link, el("br"), `${(card.authors || []).join(", ")}${card.year ? ` (${card.year})` : ""}`);
}

function signatures(model) {
  const shape = (tensor) => `${tensor.dtype} [${(tensor.shape || ["…"]).map((size) => (size === -1 ? "·" : size)).join(", ")}]`;
  const side = (tensors) => Object.entries(tensors).map(([name, tensor]) => `  ${name}: ${shape(tensor)}`).join("\n");
  return Object.entries(model.signatures).map(([name, { inputs, outputs }]) =>
    `${name}\n${side(inputs)}\n→\n${side(outputs)}`).join("\n\n");
}

function showCard(model) {
  const { card } = model;
  const metrics = Object.entries(card.metrics || {}).map(([name, value]) => [name.replaceAll("_", " "), metric(name, value)]);
  const request = el("pre", { id: "curl" }, "The last request appears here.");
  $("card").replaceChildren(
    el("div", {}, el("h3", {}, "Model card"), facts([
      ["served as", `${model.name}, version ${model.version}`],
      ["model", card.name], ["task", (card.task || "").replaceAll("_", " ")], ["paper", paper(card)],
      ["weights", `${number(model.weights)} numbers`], ["licence", card.licence],
    ])),
    ...(metrics.length ? [el("div", {}, el("h3", {}, "Measured"), facts(metrics, "measured"))] : []),
    el("div", { class: "wide" }, el("h3", {}, "The same request with curl"), request),
    el("details", { class: "wide" }, el("summary", {}, "Signatures"), el("pre", {}, signatures(model))),
  );
  return (path, body) => {
    let text = JSON.stringify(body);
    if (text.length > 600) text = `${text.slice(0, 280)} … ${text.slice(-60)}`;
    request.textContent = `curl ${location.origin}${path} \\\n  -d '${text.replaceAll("'", "'\\''")}'`;
  };
}

function show(model) {
  for (const button of $("models").querySelectorAll("button")) {
    if (button.dataset.name === model.name) {
      button.setAttribute("aria-current", "true");
      button.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else button.removeAttribute("aria-current");
  }
  document.title = `${model.name}: the zoo`;
  $("head").replaceChildren(el("h2", {}, ...breakable(model.name)), el("p", {}, model.card.summary || "A SavedModel."));
  const note = showCard(model);
  $("try").replaceChildren(tryOut(model, note));
  $("notice").hidden = true;
  $("model").hidden = false;
}

function list(models) {
  $("models").replaceChildren(...models.map((model) => el("li", {}, el("button",
    { type: "button", "data-name": model.name, onclick: () => { location.hash = model.name; } },
    el("span", {}, ...breakable(model.name)), el("small", {}, (model.card.task || "SavedModel").replaceAll("_", " "))))));
  const choose = () => {
    const wanted = decodeURIComponent(location.hash.slice(1));
    const model = models.find(({ name }) => name === wanted) || models[0];
    if (model) show(model);
  };
  window.onhashchange = choose;
  choose();
  if (!models.length) $("notice").textContent = "No model is available yet.";
}

async function begin() {
  try {
    list((await ask("/page/models")).models);
    $("key").hidden = true;
  } catch (error) {
    $("notice").textContent = error.status === 401 && !key ? "" : error.message;
    $("key").hidden = error.status !== 401;
  }
}

$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  key = $("key-text").value.trim();
  begin();
});
begin();
