"""The page in headless Chromium: a digit is drawn and classified. Skipped without Chromium or Playwright."""

import math
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from serving import CHAR_RNN, LENET, ROOT, save_small, serving

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


class Tagger(tf.Module):
    """Tags a token by its length."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serving_default(self, text):
        tokens = tf.strings.split(text).to_tensor()
        tags = tf.where(tf.strings.length(tokens) > 3, "LONG", "SHORT")
        return {"tokens": tokens, "tags": tags, "probabilities": tf.fill(tf.shape(tokens), 0.75)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    save_small(base / "small", 1)
    tagger = Tagger()
    tf.saved_model.save(tagger, str(base / "tagger" / "1"), signatures={"serving_default": tagger.serving_default})
    exports = [ROOT / "saved_models" / name for name in ("seq2seq_dates", "resnet20_cifar10_fast", "perceptron_mnist")]
    with serving(tmp_path_factory.mktemp("log"), base, LENET, CHAR_RNN, *exports) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server, request):
    """A page; the test fails for an error on it and for a request to another server."""
    context = browser.new_context(**getattr(request, "param", {"viewport": {"width": 1200, "height": 900}}))
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on(
        "request", lambda sent: None if sent.url.startswith((server.url, "blob:", "data:")) else wrong.append(sent.url)
    )
    yield page
    context.close()
    assert wrong == []


PHONE = {"viewport": {"width": 360, "height": 780}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
SEVEN = [(0.28, 0.25), (0.72, 0.25), (0.5, 0.82)]
ZERO = [(0.5 + 0.2 * math.cos(a / 4), 0.5 + 0.3 * math.sin(a / 4)) for a in range(27)]


def draw(page, points):
    box = page.locator("#board").bounding_box()
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


@pytest.mark.parametrize(
    "page", [{"viewport": {"width": 1200, "height": 900}}, PHONE], indirect=True, ids=["desk", "phone"]
)
@pytest.mark.parametrize(("points", "digit"), [(SEVEN, "7"), (ZERO, "0")])
def test_a_drawn_digit_is_read(page, server, points, digit):
    page.goto(f"{server.url}#lenet5_mnist")
    draw(page, points)
    page.wait_for_selector("#answer")
    assert page.inner_text("#answer") == digit
    names = page.locator("#bars .name").all_inner_texts()
    assert names[0] == digit and len(names) == 5
    assert page.locator("#bars .value").first.inner_text().endswith("%")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.click("#clear")
    page.wait_for_selector("#answer", state="detached")


def test_a_digit_is_drawn_with_the_keyboard_alone(page, server):
    page.goto(server.url)
    page.wait_for_selector("#model:not([hidden])")
    page.get_by_role("button", name="lenet5_mnist").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#board")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "board":
            break
    for key, count in (("ArrowUp", 8), (" ", 1), ("ArrowDown", 16), (" ", 1)):
        for _ in range(count):
            page.keyboard.press(key)
    page.wait_for_selector("#answer")
    assert page.inner_text("#answer") == "1"
    page.keyboard.press("Delete")
    page.wait_for_selector("#answer", state="detached")


def test_a_picture_is_classified(page, server, tmp_path):
    page.goto(f"{server.url}#resnet20_cifar10_fast")
    page.wait_for_selector("#file", state="attached")
    file = tmp_path / "blue.png"
    file.write_bytes(tf.io.encode_png(np.full((48, 64, 3), (90, 140, 230), np.uint8)).numpy())
    page.set_input_files("#file", str(file))
    page.wait_for_selector("#answer")
    known = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}
    assert set(page.locator("#bars .name").all_inner_texts()) < known


def test_the_page_shows_errors_of_the_server(browser, server, tmp_path):
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url}#resnet20_cifar10_fast")
    page.wait_for_selector("#file", state="attached")
    (tmp_path / "text.png").write_bytes(b"no picture")
    page.set_input_files("#file", str(tmp_path / "text.png"))
    page.wait_for_selector("[role=alert]:not(:empty)")
    assert "image" in page.inner_text("[role=alert]")
    context.close()


def test_a_scores_page(page, server):
    page.goto(f"{server.url}#perceptron_mnist")
    draw(page, SEVEN)
    page.wait_for_selector("#answer")
    assert len(page.locator("#bars .name").all_inner_texts()) == 5


def test_a_text_streams_in(page, server):
    page.goto(f"{server.url}#char_rnn_tiny_shakespeare_fast")
    page.fill("#prompt", "KING:\n")
    page.evaluate(
        """() => { window.seen = [];
        new MutationObserver(() => seen.push(document.getElementById("written").textContent.length))
          .observe(document.getElementById("written"), { childList: true, characterData: true, subtree: true }); }"""
    )
    page.click("#go")
    playwright.expect(page.locator("#written")).to_have_text(re.compile("^.{400}$", re.DOTALL), use_inner_text=False)
    lengths = page.evaluate("seen")
    assert len(set(lengths)) > 5 and lengths == sorted(lengths)
    assert page.inner_text("#text").startswith("KING:")


def test_tokens_have_their_tags(page, server):
    page.goto(f"{server.url}#tagger")
    page.fill("#sentence", "a house is <b>big</b>")
    page.click("#go")
    playwright.expect(page.locator("#tokens li")).to_have_count(4)
    assert page.locator("#tokens li").all_inner_texts() == ["a\nSHORT", "house\nLONG", "is\nSHORT", "<b>big</b>\nLONG"]
    colours = page.evaluate(
        "[...document.querySelectorAll('#tokens li')].map((li) => getComputedStyle(li).backgroundColor)"
    )
    assert colours[0] == colours[2] != colours[1] == colours[3]


@pytest.mark.parametrize(
    "page", [{"viewport": {"width": 1200, "height": 900}}, PHONE], indirect=True, ids=["desk", "phone"]
)
def test_a_translation_has_its_attention_map(page, server):
    page.goto(f"{server.url}#seq2seq_dates")
    page.fill("#sentence", "24. prosince 2019")
    page.click("#go")
    playwright.expect(page.locator("#translation")).to_have_text("2019-12-24")
    rows, columns = page.locator(".map tbody tr").count(), page.locator(".map thead th").count()
    assert rows == len("2019-12-24") + 1 and columns == len("24. prosince 2019") + 1
    assert page.locator(".map td").count() == rows * columns + 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_any_other_model_takes_json(page, server):
    page.goto(f"{server.url}#small")
    page.wait_for_selector("#request")
    page.fill("#request", '{"instances": [41]}')
    page.click("#go")
    playwright.expect(page.locator("#result")).to_contain_text("42")
    assert "curl http://" in page.inner_text("#curl")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(browser, server, scheme):
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.goto(f"{server.url}#lenet5_mnist")
    page.wait_for_selector("#board")
    contrast = page.evaluate(
        """() => { const rgb = (css) => css.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const linear = (v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
        const light = (css) => rgb(css).map((v) => linear(v / 255))
          .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
        const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        const paper = light(getComputedStyle(document.body).backgroundColor);
        return ["h1", "#head p", "nav small", "dt", "a[href^=https]", ".hint"].map((query) =>
          [query, ratio(paper, light(getComputedStyle(document.querySelector(query)).color))]); }"""
    )
    assert all(ratio >= 4.5 for _, ratio in contrast), contrast
    context.close()


def test_the_page_asks_for_a_key(browser, tmp_path):
    (tmp_path / "keys").write_text("open sesame\n")
    save_small(tmp_path / "small", 1)
    with serving(tmp_path, tmp_path / "small", "--api-key-file", tmp_path / "keys") as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.url)
        page.fill("#key-text", "wrong")
        page.keyboard.press("Enter")
        playwright.expect(page.locator("#notice")).to_contain_text("API key")
        page.fill("#key-text", "open sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector("#request")
        page.click("#go")
        playwright.expect(page.locator("#result")).to_contain_text("predictions")
        context.close()
