// A blackboard for digits: drawn by mouse, finger or keys.
import { el } from "./page.js";

const SIZE = 280;

/** A blackboard. Each finished stroke is sent as a PNG of 28 × 28, centred as MNIST's digits are. */
export function board(frame, invite, picture, done, cleared) {
  const canvas = el("canvas", { width: SIZE, height: SIZE, id: "board", tabindex: 0, role: "img", "aria-label": "Blackboard: draw a digit", "aria-describedby": "keys" });
  const small = el("canvas", { width: 28, height: 28, "aria-hidden": "true" });
  const sees = el("div", { class: "sees" }, small, el("p", { class: "hint" }, "This is sent: 28 × 28 pixels, centred as in MNIST."));
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  let last = null, cursor = { x: SIZE / 2, y: SIZE / 2, down: false };
  Object.assign(pen, { lineWidth: 22, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
  frame.prepend(canvas);

  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) * SIZE / box.width, y: (event.clientY - box.top) * SIZE / box.height };
  };
  const line = (from, to) => {
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(to.x + 0.01, to.y);
    pen.stroke();
    invite.hidden = true;
  };
  const blank = () => {
    picture.hidden = true;
    picture.removeAttribute("src");
  };
  canvas.addEventListener("pointerdown", (event) => {
    blank();
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
    line(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = at(event);
    line(last, next);
    last = next;
  });
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => { if (last) { last = null; send(); } });

  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] };
    if (event.key in moves) {
      const clamp = (value) => Math.min(SIZE - 15, Math.max(15, value));
      const next = { ...cursor, x: clamp(cursor.x + moves[event.key][0]), y: clamp(cursor.y + moves[event.key][1]) };
      if (cursor.down) line(cursor, next);
      cursor = next;
    } else if (event.key === " ") {
      cursor.down = !cursor.down;
      if (cursor.down) { blank(); line(cursor, cursor); } else send();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      clear(true);
    } else return;
    invite.hidden = false;
    invite.textContent = `${cursor.down ? "drawing" : "moving"} at ${Math.round(cursor.x / 10)}, ${Math.round(cursor.y / 10)}`;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => { if (cursor.down) { cursor.down = false; send(); } });

  /** The drawing's box scaled to 20 pixels, its centre of mass in the middle of 28. */
  function centred() {
    const { data } = pen.getImageData(0, 0, SIZE, SIZE);
    let [left, top, right, bottom, mass, x, y] = [SIZE, SIZE, -1, -1, 0, 0, 0];
    for (let row = 0; row < SIZE; row++) {
      for (let column = 0; column < SIZE; column++) {
        const ink = data[4 * (row * SIZE + column) + 3];
        if (!ink) continue;
        left = Math.min(left, column); right = Math.max(right, column);
        top = Math.min(top, row); bottom = Math.max(bottom, row);
        mass += ink; x += ink * column; y += ink * row;
      }
    }
    if (!mass) return false;
    const scale = 20 / Math.max(right - left + 1, bottom - top + 1);
    const target = small.getContext("2d");
    target.fillStyle = "#000";
    target.fillRect(0, 0, 28, 28);
    target.imageSmoothingQuality = "high";
    target.drawImage(canvas, 14 - scale * (x / mass + 0.5), 14 - scale * (y / mass + 0.5), SIZE * scale, SIZE * scale);
    return true;
  }
  function send() {
    if (centred()) small.toBlob(done, "image/png");
  }
  function clear(all) {
    pen.clearRect(0, 0, SIZE, SIZE);
    small.getContext("2d").clearRect(0, 0, 28, 28);
    cursor = { x: SIZE / 2, y: SIZE / 2, down: false };
    if (!all) return;
    blank();
    invite.textContent = "Draw here, or drop a picture";
    invite.hidden = false;
    cleared();
  }
  return { clear, sees };
}
