"""Makes the pictures of docs/serving.md: `python docs/screenshots.py URL`, with `zoo serve` running at URL.

Needs Playwright (`pip install playwright`) and Chromium.
"""

import io
import math
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
DESK = {"viewport": {"width": 1200, "height": 700}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}


def draw_three(page: Page) -> None:
    """Two arcs on the blackboard."""
    box = page.locator("#board").bounding_box()
    angles = [(0.34, 0.17, 0.15, degree) for degree in range(-150, 91, 15)]
    angles += [(0.66, 0.19, 0.17, degree) for degree in range(-90, 151, 15)]
    points = [
        (0.5 + width * math.cos(math.radians(degree)), middle + height * math.sin(math.radians(degree)))
        for middle, width, height, degree in angles
    ]
    places = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=3)
    page.mouse.up()
    page.wait_for_selector("#answer")


def write_text(page: Page) -> None:
    """Has the language model write to its end."""
    page.click("#go")
    page.wait_for_selector("#stop:not([disabled])")
    page.wait_for_selector("#stop[disabled]")


def show_attention(page: Page) -> None:
    """Waits for the example's translation."""
    page.wait_for_selector(".map td")


def show_tags(page: Page) -> None:
    """Waits for the example's tags."""
    page.wait_for_selector(".tokens li")


PICTURES = {
    "serving-digit.png": ("lenet5_modern_mnist", draw_three, DESK, "light"),
    "serving-text.png": (
        "char_rnn_tiny_shakespeare_fast",
        write_text,
        DESK | {"viewport": {"width": 1200, "height": 800}},
        "dark",
    ),
    "serving-attention.png": (
        "seq2seq_dates",
        show_attention,
        DESK | {"viewport": {"width": 1200, "height": 720}},
        "light",
    ),
    "serving-tags.png": ("bilstm_tagger_en_ewt", show_tags, DESK, "light"),
    "serving-phone.png": ("lenet5_modern_mnist", draw_three, PHONE, "light"),
}


def main(url: str) -> None:
    """Writes each picture with 128 colours, which its few need."""
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, (model, act, options, scheme) in PICTURES.items():
            context = browser.new_context(color_scheme=scheme, **options)
            page = context.new_page()
            page.goto(f"{url.rstrip('/')}/#{model}")
            page.wait_for_selector("#model:not([hidden])")
            act(page)
            page.wait_for_timeout(600)  # the bars grow
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            picture.quantize(128).save(FOLDER / name, optimize=True)
            context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
