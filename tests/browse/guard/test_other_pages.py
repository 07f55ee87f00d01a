"""Pages of others, in a real browser that has a session: at another port of this machine, and at a rebound name."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser

from tests.kit.browser import chromium
from tests.kit.browsing import Page, opened_as, page_of
from tests.kit.vaults import Remote

ATTACK = """<!doctype html><title>attack</title><body><script>
const target = "TARGET", api = target + "/api/v1";
const tell = (name, promise) =>
  promise.then((value) => [name, String(value)], (error) => [name, "no: " + error.name]);
const element = (tag, attributes) => new Promise((done, failed) => {
  const one = document.createElement(tag);
  one.onload = () => done("loaded");
  one.onerror = () => failed(new Error("not loaded"));
  Object.assign(one, attributes);
  document.body.append(one);
});
const read = (path, options) =>
  fetch(api + path, {credentials: "include", ...options}).then((answer) => answer.text());
const simple = {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}, body: "{}"};
const json = {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"};
window.results = Promise.all([
  tell("read", read("/session")),
  tell("read blindly", read("/session", {mode: "no-cors"})),
  tell("write blindly", read("/session/link", simple)),
  tell("write", read("/session/link", json)),
  tell("end", read("/session", {method: "DELETE"})),
  tell("script", element("script", {src: api + "/session"})),
  tell("picture", element("img", {src: api + "/storage/chart.svg"})),
  tell("shell", fetch(target + "/").then((answer) => answer.text())),
  tell("socket", new Promise((done, failed) => {
    const one = new WebSocket(target.replace("http", "ws") + "/api/v1/events");
    one.onopen = () => done("open");
    one.onerror = () => failed(new Error("closed"));
  })),
]);
</script><iframe name="framed" src="TARGET/"></iframe><iframe name="answer"></iframe>
<form target="answer" method="post" enctype="text/plain" action="TARGET/api/v1/session/link">
<input name='{"a":"' value='"}'></form>
"""
KEY = "{'X-Rpdrive-Key': localStorage.getItem('rpdrive key')}"
READ = f"fetch('/api/v1/session', {{headers: {KEY}}}).then((answer) => answer.status)"
OWN = f"""
fetch('/api/v1/session/link', {{
  method: 'POST', headers: {{'Content-Type': 'application/json', ...{KEY}}}, body: '{{}}',
}}).then((answer) => answer.status)
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page_of(opened_as(tmp_path_factory.mktemp("home"), Remote().vault)) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser to which evil.test is this machine, as after a DNS rebinding."""
    with chromium("--host-resolver-rules=MAP evil.test 127.0.0.1") as found:
        yield found


@contextmanager
def attacker(target: str, cookies: set[str]) -> Iterator[int]:
    """A page of somebody else at another port of this machine; the port. `cookies`: those that it gets."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cookies.update(self.headers.get_all("Cookie", []))
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(ATTACK.replace("TARGET", target).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_other_pages_neither_read_nor_change_anything(page: Page, browser: Browser) -> None:
    context = browser.new_context()
    own = context.new_page()
    own.goto(page.link())
    own.wait_for_function(f"{READ}.then((status) => status === 200)")
    sessions = page.context.sessions
    tokens = set(sessions._tokens)
    cookies: set[str] = set()
    with attacker(page.origin, cookies) as port:
        for host in ("127.0.0.1", "evil.test"):  # the first is the same site to a browser: cookies go along
            tab = context.new_page()
            tab.goto(f"http://{host}:{port}/")
            results = dict(tab.evaluate("window.results"))
            assert len(results) == 9
            assert all(value.startswith("no: ") for value in results.values()), (host, results)
            with tab.expect_response("**/session/link") as answered:
                tab.evaluate("document.forms[0].submit()")
            assert answered.value.status == 403
            framed = tab.frame("framed")
            assert framed is not None and "rp-app" not in framed.content()
            tab.close()
    assert len(sessions) == 1 and set(sessions._tokens) == tokens
    assert own.evaluate(READ) == 200
    # Browsers gave the other port our cookie, but nobody gets in by it.
    (cookie,) = cookies
    assert cookie.startswith(f"rpdrive-{page.port}=") and len(sessions) == 1
    stolen = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin", "Origin": page.origin}
    assert page.request("GET", "/api/v1/session", headers=stolen).status == 401
    key = {"X-Rpdrive-Key": str(own.evaluate("localStorage.getItem('rpdrive key')"))}
    assert page.request("GET", "/api/v1/session", headers=stolen | key).status == 200
    # Our own page may, and its browser says where it comes from, on loopback, too.
    assert own.evaluate(OWN) == 200
    context.close()


def test_a_rebound_name_gets_nothing_not_even_files_of_the_page(page: Page, browser: Browser) -> None:
    context = browser.new_context()
    tab = context.new_page()
    for path in ("/", "/api/v1/session", "/static/x/app.js", "/c/x.y/name"):
        answer = tab.goto(f"http://evil.test:{page.port}{path}")
        assert answer is not None and answer.status == 403
        assert "this page answers at 127.0.0.1" in tab.content()
    context.close()
