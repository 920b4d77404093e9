"""The page's server refuses foreign names, pages of other servers and whoever lacks its token, by real requests."""

import http.client
import http.server
import shutil
import threading

import pytest

from tests.faults.test_page_reads_no_file_of_the_host import page_server

pytest.importorskip("gradio", reason="needs gradio")
pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with page_server(tmp_path_factory) as (address, _, _):
        yield address


@pytest.fixture(scope="module")
def with_token(tmp_path_factory):
    with page_server(tmp_path_factory, token="secret") as (address, _, _):
        yield address


def status(address, path="/", **headers):
    """Status of a request, and what it answers beside."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status, dict(answer.getheaders())


def test_foreign_hosts_and_origins_are_refused(address):
    assert status(address)[0] == 200
    assert status(address, Host="evil.example")[0] == 403
    assert status(address, Origin="http://evil.example")[0] == 403
    assert status(address, Origin=address)[0] == 200


def test_a_token_is_asked_for_once(with_token):
    assert status(with_token)[0] == 401
    assert status(with_token, "/?token=wrong")[0] == 401
    code, headers = status(with_token, "/?token=secret")
    assert (code, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert status(with_token, Cookie=cookie.partition(";")[0])[0] == 200
    assert status(with_token, Authorization="Bearer secret")[0] == 200


@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")
def test_a_page_of_another_server_cannot_ask_from_a_real_browser(address):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    foreign = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    threading.Thread(target=foreign.serve_forever, daemon=True).start()
    ask = f"""fetch('{address}/gradio_api/queue/join', {{method: 'POST', body: '{{}}', mode: 'no-cors'}})
        .then(() => fetch('{address}/config')).then(answer => answer.text(), error => 'refused: ' + error)"""
    try:
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{foreign.server_address[1]}/")
            assert page.evaluate(ask).startswith("refused")
            page.goto(address)
            assert "components" in page.evaluate(ask.replace(", mode: 'no-cors'", ""))
            browser.close()
    finally:
        foreign.shutdown()
