"""The page's server, by real requests: bounded, and nobody is held up by who is slow, stays away or goes."""

import http.client
import json
import threading
import time
import urllib.request
from contextlib import contextmanager

import pytest

pytest.importorskip("gradio", reason="needs gradio")
pytestmark = pytest.mark.browser

from amsam_monai.annotate.browser_files import browser_files  # noqa: E402
from amsam_monai.annotate.queue import OF_A_TAB, UNREAD  # noqa: E402
from amsam_monai.annotate.tabs import MAX_TABS  # noqa: E402
from tests.faults.test_page_reads_no_file_of_the_host import ask, call, page_server  # noqa: E402


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with page_server(tmp_path_factory) as running:
        yield running


@pytest.fixture(autouse=True)
def _nobody_works_on(server):
    """Each test begins with no tab."""
    _, page, _ = server
    while page._queue.event_ids_to_events:
        time.sleep(0.05)
    page.tabs._tabs.clear()


def join(address, page, tab, name, data):
    """Status, Retry-After and words of an action that is asked for."""
    number = next(index for index, one in page.fns.items() if one.name == name)
    body = {"data": data, "fn_index": number, "session_hash": tab, "event_data": None, "trigger_id": None}
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    connection.request("POST", "/gradio_api/queue/join", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    words = answer.read().decode()
    connection.close()
    return answer.status, answer.headers.get("Retry-After"), words


def said(address, tab):
    """All that a tab's stream says until its actions are done."""
    return ask(f"{address}/gradio_api/queue/data?session_hash={tab}")[1]


def test_a_tab_whose_action_takes_long_is_bounded_and_holds_up_no_other(server):
    address, page, files = server
    with page.tabs.working("slow"):  # as while a large image is read
        answers = [join(address, page, "slow", "open_case", [str(files["case"])]) for _ in range(OF_A_TAB + 4)]
        assert [status for status, _, _ in answers] == [200] * OF_A_TAB + [429] * 4
        assert answers[-1][1:] == (
            "1",
            json.dumps({"detail": "16 actions of this tab run or wait already; try again in a moment."}).replace(
                ": ", ":", 1
            ),
        )
        for number in range(MAX_TABS - 1):
            assert join(address, page, f"quick-{number}", "open_case", [str(files["case"])])[0] == 200
            assert "own points and masks" in said(address, f"quick-{number}")
    assert said(address, "slow").count("process_completed") == OF_A_TAB


def test_answers_that_nobody_fetches_are_bounded(server):
    address, page, _ = server
    statuses = []
    while 429 not in statuses:
        status, _, words = join(address, page, "away", "save_case", ["NIfTI"])
        statuses.append(status)
        while page._queue.event_ids_to_events:
            time.sleep(0.005)
        assert len(statuses) <= UNREAD
    assert f"{UNREAD} answers wait for this tab to fetch them" in words
    assert said(address, "away").count("process_completed") == len(statuses) - 1
    assert join(address, page, "away", "save_case", ["NIfTI"])[0] == 200


@contextmanager
def half_sent(address, path, kind, count=20):
    """Clients that begin to send something and wait."""
    clients = [http.client.HTTPConnection(address.removeprefix("http://")) for _ in range(count)]
    for client in clients:
        client.putrequest("POST", path)
        client.putheader("Content-Type", kind)
        client.putheader("Content-Length", "3000000")
        client.endheaders(
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.nii"\r\n\r\n' + b"a" * 2_000_000
        )
    yield
    for client in clients:
        client.close()


def test_clients_that_send_slowly_hold_up_nobody_and_leave_nothing(server):
    address, page, files = server
    before = sorted(browser_files().iterdir())
    upload = half_sent(address, "/gradio_api/upload", "multipart/form-data; boundary=x")
    with upload, half_sent(address, "/gradio_api/queue/join", "application/json"):
        assert "own points and masks" in call(address, page, "open_case", [str(files["case"])])
        assert sorted(browser_files().iterdir()) == before
    assert ask(address)[0] == 200
    assert sorted(browser_files().iterdir()) == before


def test_more_than_a_volume_is_refused_before_it_is_sent(server):
    address, _, _ = server
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(10**15))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert "what is sent must have at most" in answer.read().decode()


def test_a_connection_that_is_lost_keeps_the_work_in_a_file_and_in_the_tab(server):
    address, page, files = server
    out = page.tabs.out
    assert "own points and masks" in call(address, page, "open_case", [str(files["case"])])
    beats = urllib.request.urlopen(f"{address}/gradio_api/heartbeat/thief")
    beats.readline()
    bench = page.tabs.bench("thief")
    bench.session.add_point(1, (5, 5, 2))
    bench.update()
    assert bench.unsaved
    beats.close()
    while not list((out / ".unsaved").glob("a_label*")):
        time.sleep(0.05)
    assert "Saved" in call(address, page, "save_case", ["NIfTI"])
    assert page.tabs.bench("thief") is bench


def test_eight_clients_at_once_get_what_they_ask_for(server):
    address, page, files = server
    words = {}

    def work(tab):
        join(address, page, tab, "open_case", [str(files["case"])])
        said(address, tab)
        join(address, page, tab, "save_case", ["NIfTI"])
        words[tab] = said(address, tab)

    clients = [threading.Thread(target=work, args=(f"client-{number}",)) for number in range(MAX_TABS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(words) == MAX_TABS
    assert all("Saved" in text for text in words.values())
    assert not list(browser_files().rglob("*.png"))  # no picture of a patient lies on the disk


def test_what_gradio_offers_beside_the_page_is_shut(server):
    address, _, _ = server
    assert ask(f"{address}/gradio_api/run/save_case", {"data": ["NIfTI"]})[0] == 404
    assert ask(f"{address}/gradio_api/run-history/connect", {"bucket_id": "a/b"})[0] in (404, 405)
