"""Names and contents of strangers are shown, and never act."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.browse.front.tabs import ROWS, active, opened
from tests.browse.front.vault import HOSTILE, Shown
from tests.kit.browser import watched

SHOWN = {
    "plain.txt": "plain.txt", "line\r\nbreak": "line[CR][LF]break", "\u202egnp.exe": "[RLO]gnp.exe",
    " spaces ": "\u2423spaces\u2423", "zero\u200bwidth": "zero[ZWSP]width", "\u2066a\u2069": "[LRI]a[PDI]",
    "tab\tesc\x1b\x7f\x85": "tab[TAB]esc[ESC][DEL][U+0085]", "\U000e0041tag": "[U+E0041]tag",
    "soft\u00adhyphen": "soft[U+00AD]hyphen", "\u05d0\u05d1": "\u05d0\u05d1", "\U0001f600": "\U0001f600",
}  # fmt: skip


def test_names_of_strangers_are_shown_and_do_nothing(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, front.folder("/strange"))
        expect(tab.get_by_role("grid")).to_have_attribute("aria-rowcount", str(len(HOSTILE) + 3))
        text = tab.locator(".grid-all").inner_text()
        for part in (
            "<img src=x onerror=document.title=1>", "\"quotes' & <b>bold", "line[CR][LF]break", "[RLO]gnp.exe",
            "\u2423spaces\u2423", "zero[ZWSP]width", "${7*7}{{7*7}}", "javascript:alert(1)", "../<b>kept</b>",
        ):  # fmt: skip
            assert part in text, part
        expect(tab.locator(ROWS, has_text="raw").get_by_text("not text")).to_have_attribute(
            "title", "bytes: 72 61 77 ff"
        )
        expect(tab).to_have_title("/strange at 2026-11-23 12:00 \u2013 rpdrive")
        assert tab.locator("main img, main b").count() == 0
        # A name that isn't text is opened by its bytes.
        tab.locator(ROWS, has_text="raw").get_by_role("link").click()
        expect(tab.get_by_role("heading", level=1)).to_contain_text("raw\ufffd")
        expect(tab.get_by_text("utf-8; 4 B")).to_be_visible()
        signs = tab.evaluate(
            """async (names) => {
            const base = document.querySelector('script[type=module]').src.replace('app.js', '');
            const {plain} = await import(base + 'text.js');
            return names.map(plain);
        }""",
            list(SHOWN),
        )
        assert signs == list(SHOWN.values())


def test_a_file_is_shown_by_what_it_is(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, front.preview("/texts/page.html"))
        expect(tab.get_by_role("region", name="Text of the file")).to_have_text(
            "<script>document.title = 'ran'</script>\n"
        )
        for part in ("user:1234:r--", "user.note: kept <i>here</i>", "someone (1000)", "-rw-r--r--"):
            expect(tab.get_by_role("region", name="About this file")).to_contain_text(part)
        expect(tab).to_have_title("page.html (preview) \u2013 rpdrive")
        tab.get_by_role("button", name="Bytes", exact=True).click()
        expect(tab.get_by_role("region", name="Bytes of the file")).to_contain_text(
            "00000000  3c 73 63 72 69 70 74 3e  64"
        )
        tab.reload()
        expect(tab.get_by_role("button", name="Bytes", exact=True)).to_have_attribute("aria-pressed", "true")

        tab.goto(front.page.origin + front.preview("/texts/latin.txt"))
        expect(tab.get_by_role("region", name="Text of the file")).to_have_text("caf\u00e9")
        expect(tab.get_by_text("latin-1; 4 B")).to_be_visible()

        tab.goto(front.page.origin + front.preview("/texts/long.txt"))
        expect(tab.get_by_text("the first 256.0 KiB of 527.3 KiB")).to_be_visible()
        tab.get_by_role("button", name="Show more").click()
        tab.get_by_role("button", name="Show more").click()
        expect(tab.get_by_role("region", name="Text of the file")).to_contain_text("line 019999 of a long text")
        expect(tab.get_by_role("button", name="Show more")).to_have_count(0)

        tab.goto(front.page.origin + front.preview("/texts/bytes.bin"))
        tab.get_by_role("button", name="Later bytes").click()
        expect(tab.get_by_text("4,096 to 8,192 of 10,240")).to_be_visible()
        tab.goto(front.page.origin + front.preview("/texts/nothing.txt"))
        expect(tab.get_by_text("This file is empty")).to_be_visible()
        tab.goto(front.page.origin + front.preview("/texts/picture.svg"))
        expect(tab.get_by_role("region", name="Text of the file")).to_contain_text("<svg onload=")


def test_pictures_come_from_the_other_origin(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        tab = opened(front, watch, front.preview("/texts/square.png"))
        picture = tab.get_by_role("img", name="Contents of square.png")
        expect(picture).to_have_js_property("naturalWidth", 8)
        assert (picture.get_attribute("src") or "").startswith(front.page.contents)
        # Beside the names, if it is wanted.
        tab.get_by_role("link", name="Its folder").click()
        active(tab, "square.png")
        tab.locator("summary", has_text="Preview").click()
        expect(tab.get_by_role("img", name="Contents of square.png")).to_have_js_property("naturalWidth", 8)
        tab.locator(f"{ROWS}[tabindex='0']").focus()
        tab.keyboard.press("Home")
        tab.keyboard.press("ArrowDown")
        expect(tab.get_by_role("region", name="First bytes")).to_contain_text("00000000  00 01 02")
        tab.goto(front.page.origin + front.preview("/texts/paper.pdf"))
        link = tab.get_by_role("link", name="Open the PDF in a new tab")
        expect(link).to_have_attribute("rel", "noopener noreferrer")
        assert (link.get_attribute("href") or "").startswith(front.page.contents)


def test_damage_is_named_and_its_neighbours_are_shown(front: Shown, browser: Browser) -> None:
    with watched(browser) as watch:
        watch.expected.append("502")
        tab = opened(front, watch, front.preview("/texts/broken.txt"))
        expect(tab.get_by_role("alert")).to_contain_text("broken.txt can't be read")
        expect(tab.get_by_role("alert")).to_contain_text("Damaged")
        expect(tab.get_by_role("button", name="Try again")).to_be_visible()
        expect(tab.get_by_role("region", name="About this file")).to_contain_text("someone")
        # A download that fails leaves the page where it is.
        tab.get_by_role("button", name="Download").click()
        expect(tab.get_by_role("alert").filter(has_text="broken.txt could not be downloaded")).to_be_visible()
        tab.get_by_role("link", name="Its folder").click()
        tab.locator(ROWS, has_text="page.html").get_by_role("link").click()
        expect(tab.get_by_role("region", name="Text of the file")).to_contain_text("script")
