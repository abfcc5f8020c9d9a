// A way to try each kind of model; the signatures decide which.
import { board } from "./board.js";
import { ask, el, send } from "./page.js";

/** The try-out that fits a model's signatures. `note(path, body)` is told of each request. */
export function tryOut(model, note) {
  const names = Object.values(model.signatures);
  const has = (input, output) => names.some((s) => input in s.inputs && output in s.outputs);
  const kind = has("image_bytes", "classes") ? images
    : has("prompt", "text") ? writing
    : has("text", "tags") ? tagging
    : has("text", "attention") ? translation
    : has("text", "probabilities") ? textClasses
    : free;
  const path = `/v1/models/${encodeURIComponent(model.name)}`;
  return kind(model, async (body, signal) => {
    note(`${path}:predict`, body);
    return ask(`${path}:predict`, body, signal);
  }, (body, signal) => {
    note(`${path}:generate`, body);
    return send(`${path}:generate`, body, signal);
  });
}

/** A part of the page that shows the newest answer, how long it took, or what went wrong. */
function answers(node) {
  const time = el("p", { class: "time" });
  const error = el("p", { class: "error", role: "alert" });
  let latest = 0;
  async function run(work, show) {
    const mine = ++latest, start = performance.now();
    try {
      const answer = await work();
      if (mine !== latest) return;
      error.textContent = "";
      time.textContent = `answered in ${Math.max(1, Math.round(performance.now() - start))} ms`;
      show(answer);
    } catch (caught) {
      if (mine !== latest || caught.name === "AbortError") return;
      time.textContent = "";
      error.textContent = caught.message;
    }
  }
  return { run, node: el("div", { class: "stack", "aria-live": "polite" }, node, time, error), forget: () => { latest++; } };
}

const percent = (value) => `${(100 * value).toFixed(1)} %`;

function bars(row, names) {
  const isScore = !("probabilities" in row);
  const values = row.probabilities || row.scores;
  const best = [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, 5);
  const known = names && names[row.classes] === row.labels;
  const name = (k) => (k === row.classes ? row.labels : known ? names[k] : `class ${k}`);
  const low = isScore ? Math.min(...values) : 0, high = isScore ? values[best[0]] : 1;
  const list = el("ol", { class: "bars", id: "bars", "aria-label": isScore ? "Highest scores" : "Most probable classes" },
    ...best.map((k) => el("li", {}, el("span", { class: "name" }, name(k)),
      el("span", { class: "track", "aria-hidden": "true" }, el("div", { class: "fill" })),
      el("span", { class: "value" }, isScore ? values[k].toPrecision(3) : percent(values[k])))));
  requestAnimationFrame(() => [...list.querySelectorAll(".fill")].forEach((fill, place) => {
    fill.style.width = `${100 * Math.max(0, (values[best[place]] - low) / (high - low || 1))}%`;
  }));
  return [el("p", { class: "answer", id: "answer" }, row.labels), list];
}

const base64 = (buffer) => {
  let text = "";
  for (const byte of new Uint8Array(buffer)) text += String.fromCharCode(byte);
  return btoa(text);
};

/** Draw a digit, for models of grey images; drop or choose a picture, for all. */
function images(model, predict) {
  const signature = Object.entries(model.signatures).find(([, s]) => "image_bytes" in s.inputs)[0];
  const pixels = Object.values(model.signatures).map((s) => s.inputs.images).find((t) => t && t.shape && t.shape.length === 4);
  const grey = pixels && pixels.shape[3] === 1;
  const result = el("div", { class: "stack" }, el("p", { class: "empty" }, grey ? "Draw a digit to see the answer." : "Drop a picture to see the answer."));
  const answer = answers(result);
  const show = ({ predictions: [row] }) => result.replaceChildren(...bars(row, model.class_names));
  const sendFile = async (file) => {
    const content = base64(await file.arrayBuffer());
    answer.run(() => predict({ signature_name: signature, instances: [{ image_bytes: { b64: content } }] }), show);
  };
  const picture = el("img", { alt: "", hidden: true });
  const invite = el("p", { class: "invite" }, grey ? "Draw here, or drop a picture" : "Drop a picture here");
  const frame = el("div", { class: grey ? "board" : "board drop" }, picture, invite);
  const take = (file) => {
    if (!file) return;
    drawing?.clear();
    URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(file);
    picture.hidden = false;
    invite.hidden = true;
    sendFile(file);
  };
  const drawing = grey ? board(frame, invite, picture, (file) => sendFile(file), () => {
    answer.forget();
    result.replaceChildren(el("p", { class: "empty" }, "Draw a digit to see the answer."));
  }) : null;
  for (const kind of ["dragover", "dragleave", "drop"]) {
    frame.addEventListener(kind, (event) => {
      event.preventDefault();
      frame.classList.toggle("over", kind === "dragover");
      if (kind === "drop") take(event.dataTransfer.files[0]);
    });
  }
  const choose = el("label", { class: "file" }, "Choose a picture",
    el("input", { type: "file", accept: "image/png,image/jpeg,image/gif,image/bmp", id: "file", onchange: (event) => take(event.target.files[0]) }));
  const buttons = el("div", { class: "row" }, grey ? el("button", { type: "button", id: "clear", onclick: () => drawing.clear(true) }, "Clear") : null, choose);
  const hint = grey ? el("p", { class: "hint", id: "keys" }, "With keys: arrows move, Space lowers and lifts the chalk, Delete clears.") : null;
  return el("div", { class: "sheet" }, el("div", { class: "two" }, el("div", { class: "stack" }, frame, buttons, hint, drawing?.sees), answer.node));
}

function dial(name, label, attributes, value) {
  const shown = el("output", {}, value);
  const input = el("input", { type: "range", id: name, ...attributes, value, oninput: () => { shown.textContent = input.value; } });
  return { node: el("label", {}, el("span", {}, label, " ", shown), input), value: () => Number(input.value) };
}

/** Write a prompt; the text streams in. */
function writing(model, predict, generate) {
  const prompt = el("textarea", { id: "prompt", rows: 3, maxlength: model.limits.text_bytes }, "");
  prompt.value = "ROMEO:\n";
  const length = dial("length", "length", { min: 20, max: Math.min(model.limits.length, 2000), step: 20 }, Math.min(400, model.limits.length));
  const temperature = dial("temperature", "temperature", { min: 0, max: 1.5, step: 0.05 }, 0.7);
  const seed = el("input", { type: "number", id: "seed", value: 1, min: 0, max: 2147483647 });
  const given = el("span", { class: "given" }), written = el("span", { id: "written" });
  const text = el("div", { class: "text", id: "text", tabindex: 0, role: "log", "aria-label": "Generated text" }, given, written);
  const answer = answers(text);
  const go = el("button", { class: "main", id: "go" }, "Write"), stop = el("button", { type: "button", id: "stop", disabled: true }, "Stop");
  let running = null;
  const write = async (event) => {
    event.preventDefault();
    running?.abort();
    const mine = running = new AbortController();
    const body = { prompt: prompt.value, length: length.value(), temperature: temperature.value(), seed: Number(seed.value) };
    given.textContent = prompt.value;
    written.textContent = "";
    text.classList.add("writing");
    stop.disabled = false;
    await answer.run(async () => {
      const response = await generate(body, mine.signal);
      for await (const { kind, data } of events(response)) {
        if (kind === "error") throw new Error(data.error);
        if (kind === "") {
          written.textContent += data.text;
          text.scrollTop = text.scrollHeight;
        }
      }
    }, () => {});
    if (running === mine) { text.classList.remove("writing"); stop.disabled = true; }
  };
  stop.addEventListener("click", () => { running?.abort(); answer.forget(); text.classList.remove("writing"); stop.disabled = true; });
  const form = el("form", { class: "stack", onsubmit: write }, el("label", {}, "Prompt", prompt),
    el("div", { class: "dials" }, length.node, temperature.node, el("label", {}, "seed", seed)), el("div", { class: "row" }, go, stop));
  prompt.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit(); });
  return el("div", { class: "sheet" }, form, answer.node);
}

/** The events of a server-sent stream. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split("\n").filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2)).join("\n");
      yield { kind: field("event"), data: JSON.parse(field("data")) };
    }
  }
}

/** A form with one line of text. */
function sentence(label, value, action, work) {
  const input = el("input", { type: "text", id: "sentence", value, autocomplete: "off", spellcheck: "false" });
  const form = el("form", { class: "stack", onsubmit: (event) => { event.preventDefault(); work(input.value); } },
    el("label", {}, label, input), el("div", { class: "row" }, el("button", { class: "main", id: "go" }, action)));
  queueMicrotask(() => work(value));
  return form;
}

const signatureWith = (model, output) => Object.entries(model.signatures).find(([name, s]) => output in s.outputs && name === "serving_default")?.[0]
  || Object.entries(model.signatures).find(([, s]) => output in s.outputs)[0];

function tagging(model, predict) {
  const list = el("ol", { class: "tokens", id: "tokens", "aria-label": "Tokens and their tags" });
  const answer = answers(list);
  const hue = (tag) => [...tag].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  const work = (text) => answer.run(() => predict({ signature_name: signatureWith(model, "tags"), instances: [text] }), ({ predictions: [row] }) => {
    list.replaceChildren(...row.tokens.flatMap((token, place) => {
      if (token === "") return [];
      const sure = row.probabilities ? percent(row.probabilities[place]) : "";
      const item = el("li", { title: sure }, token, el("small", {}, row.tags[place]));
      item.style.setProperty("--hue", (hue(row.tags[place]) * 5) % 360);
      return [item];
    }));
  });
  return el("div", { class: "sheet" }, sentence("Sentence, tokens separated by spaces", "The quick brown fox jumps over the lazy dog .", "Tag", work), answer.node);
}

function textClasses(model, predict) {
  const result = el("div", { class: "stack" });
  const answer = answers(result);
  const work = (text) => answer.run(() => predict({ signature_name: signatureWith(model, "probabilities"), instances: [text] }),
    ({ predictions: [row] }) => result.replaceChildren(...bars(row, model.class_names)));
  const example = /names/.test(model.name) ? "Nouvelle-Zélande" : "A film that I would gladly see again.";
  return el("div", { class: "sheet" }, sentence("Text", example, "Classify", work), answer.node);
}

function translation(model, predict) {
  const words = el("p", { class: "translation", id: "translation" });
  const map = el("div", { class: "map", tabindex: 0, role: "group", "aria-label": "Attention map" });
  const answer = answers(el("div", { class: "stack" }, words,
    el("p", { class: "hint" }, "Attention: one row per token of the translation, one column per token of the text."), map));
  const example = /date/.test(model.name) ? "Montag, 11. März 2024" : "A dog runs through the grass .";
  const work = (text) => answer.run(() => predict({ signature_name: signatureWith(model, "attention"), instances: [text] }), ({ predictions: [row] }) => {
    words.textContent = row.translation;
    const visible = (token) => (token === " " ? "␣" : token);
    map.replaceChildren(el("table", {},
      el("thead", {}, el("tr", {}, el("td"), ...row.source_tokens.map((token) => el("th", { scope: "col", class: token.length > 2 ? "tall" : null }, el("span", {}, visible(token)))))),
      el("tbody", {}, ...row.tokens.map((token, place) => el("tr", {}, el("th", { scope: "row" }, visible(token)),
        ...row.attention[place].map((weight, column) => {
          const cell = el("td", { title: `${visible(token)} ← ${visible(row.source_tokens[column] ?? "")}: ${percent(weight)}` });
          cell.style.setProperty("--share", `${Math.round(100 * Math.sqrt(weight))}%`);
          return cell;
        }))))));
  });
  return el("div", { class: "sheet" }, sentence("Text", example, "Translate", work), answer.node);
}

/** Any other SavedModel: a request in JSON. */
function free(model, predict) {
  const [name, signature] = Object.entries(model.signatures)[0] || ["serving_default", { inputs: {} }];
  const nested = (tensor) => (tensor.shape || [-1]).slice(1).reduceRight((value, size) => Array(size < 0 ? 1 : Math.min(size, 4)).fill(value), tensor.dtype === "string" ? "text" : tensor.dtype === "bool" ? false : 0);
  const row = Object.fromEntries(Object.entries(signature.inputs).map(([key, tensor]) => [key, nested(tensor)]));
  const area = el("textarea", { class: "code", id: "request", spellcheck: "false" });
  area.value = JSON.stringify({ signature_name: name, instances: [row] }, null, 1);
  const result = el("pre", { id: "result" });
  const answer = answers(result);
  const work = (event) => {
    event.preventDefault();
    answer.run(async () => {
      let body;
      try { body = JSON.parse(area.value); } catch { throw new Error("The request is not JSON."); }
      return predict(body);
    }, (value) => { result.textContent = JSON.stringify(value, null, 1).slice(0, 20000); });
  };
  return el("div", { class: "sheet" }, el("form", { class: "stack", onsubmit: work }, el("label", {}, "Request", area),
    el("div", { class: "row" }, el("button", { class: "main", id: "go" }, "Send"))), answer.node);
}
