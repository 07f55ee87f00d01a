"""The pictures of the manual show the screens as they are now."""

from __future__ import annotations

import base64

import pytest
from playwright.sync_api import Browser

from tests.browse.pictures import IMAGES, pictures
from tests.kit.browser import watched

# The part of the squares of 8 by 8 pixels in which two pictures differ by more than a shade. Runs on a blank page.
DIFFERENT = """async (both) => {
    const squares = await Promise.all(both.map(async (data) => {
        const image = new Image();
        image.src = "data:image/png;base64," + data;
        await image.decode();
        const canvas = new OffscreenCanvas(Math.ceil(image.width / 8), Math.ceil(image.height / 8));
        const context = canvas.getContext("2d");
        context.imageSmoothingQuality = "high";
        context.drawImage(image, 0, 0, canvas.width, canvas.height);
        return context.getImageData(0, 0, canvas.width, canvas.height).data;
    }));
    if (squares[0].length !== squares[1].length) return 1;
    let different = 0;
    for (let i = 0; i < squares[0].length; i += 4) {
        different += [0, 1, 2].some((c) => Math.abs(squares[0][i + c] - squares[1][i + c]) > 24);
    }
    return different / (squares[0].length / 4);
}"""
MOST = 0.02  # fonts may differ a little from machine to machine


@pytest.mark.soak
def test_the_pictures_of_the_manual_are_those_of_the_present_screens(browser: Browser) -> None:
    """Otherwise make them again: python -m tests.browse.pictures."""
    found = pictures(browser)
    assert {path.name for path in IMAGES.glob("browse-*.png")} == set(found)
    manual = (IMAGES.parent / "browse.md").read_text()
    assert [name for name in found if f"images/{name}" not in manual] == []
    with watched(browser) as desk:
        blank = desk.context.new_page()
        for name, picture in found.items():
            kept = (IMAGES / name).read_bytes()
            both = [base64.b64encode(one).decode() for one in (kept, picture)]
            assert len(kept) < 64 << 10
            assert blank.evaluate(DIFFERENT, both) < MOST, f"{name} is old"
