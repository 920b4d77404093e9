"""Who is let in and who is not."""

import pytest

from amsam_monai.gate import COOKIE, Gate, GateOptions, check_address, host_name, is_loopback


def asked(headers, method="GET", **options):
    """Status and message of a refusal, or None."""
    scope = {
        "type": "http",
        "scheme": "http",
        "method": method,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }
    return Gate(None, GateOptions(**options)).refusal(scope)


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000", "[::1]:8000", "10.0.0.7", "LOCALHOST."])
def test_this_machines_names_and_addresses_are_answered(host):
    assert asked({"Host": host}) is None


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8000", "127.0.0.1.evil.example", ""])
def test_a_name_that_was_made_to_lead_here_is_refused(host):
    status, message = asked({"Host": host})
    assert status == 403
    assert "--allow-host" in message
    assert asked({"Host": "clinic.example"}, hosts=("clinic.example",)) is None


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost:8000", "http://localhost:3000"])
def test_pages_of_other_servers_are_refused_unless_listed(origin):
    headers = {"Host": "localhost:8000", "Origin": origin}
    status, message = asked(headers)
    assert status == 403
    assert "--allow-origin" in message
    assert asked(headers, origins=(origin,)) is None


def test_its_own_pages_may_ask():
    assert asked({"Host": "localhost:8000", "Origin": "http://localhost:8000"}) is None


def test_a_token_is_asked_for_once_there_is_one():
    host = {"Host": "localhost"}
    assert asked(host, token="s3cret")[0] == 401
    assert asked({**host, "Authorization": "Bearer wrong"}, token="s3cret")[0] == 401
    assert asked({**host, "Authorization": "Bearer s3cret"}, token="s3cret") is None
    page = {**host, "Origin": "http://viewer", "Access-Control-Request-Method": "POST"}
    assert asked(page, method="OPTIONS", token="s3cret", origins=("http://viewer",)) is None


def test_options_reach_the_servers_process():
    options = GateOptions(("a", "b"), ("http://c",), "t")
    assert GateOptions.of_environment(options.to_environment()) == options
    assert GateOptions.of_environment({}) == GateOptions()


def test_loopback_addresses_are_told_from_others():
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "10.0.0.7", "box")] == [
        *[True] * 3,
        *[False] * 3,
    ]
    assert host_name("[fe80::1]:80") == "fe80::1"


def test_a_browser_keeps_the_token_as_a_cookie():
    assert asked({"Host": "localhost", "Cookie": f"a=b; {COOKIE}=secret"}, token="secret") is None
    for cookie in (f"{COOKIE}=other", "a=b", f"{COOKIE}=", "\x00"):
        assert asked({"Host": "localhost", "Cookie": cookie}, token="secret")[0] == 401


def test_other_machines_are_let_in_with_a_token_or_knowingly():
    check_address("127.0.0.1", "", False, "")
    check_address("0.0.0.0", "secret", False, "")
    check_address("0.0.0.0", "", True, "")
    with pytest.raises(ValueError, match=r"lets other machines in: give --token \(pages can\), or --insecure"):
        check_address("0.0.0.0", "", False, "pages can")
