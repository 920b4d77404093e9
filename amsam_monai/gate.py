"""Who may ask a server of this package: its own pages and listed ones, under its own names, with the token."""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

ENVIRONMENT = "AMSAM_LABEL_"
COOKIE = "amsam_token"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class GateOptions:
    """Who may ask.

    Args:
        hosts: names that the server answers to beside this machine's; addresses in digits always do, since what leads a
            browser astray is a name. "*" is any.
        origins: pages of other servers that may ask, say http://localhost:3000; "*" is any.
        token: what a request must carry as `Authorization: Bearer TOKEN`, or a browser has as a cookie since it opened
            an address with `?token=TOKEN`; "" asks for none.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    token: str = ""

    def to_environment(self) -> dict[str, str]:
        """As variables, by which the server's process gets them; other processes of the machine cannot read those."""
        return {
            ENVIRONMENT + "HOSTS": ",".join(self.hosts),
            ENVIRONMENT + "ORIGINS": ",".join(self.origins),
            ENVIRONMENT + "TOKEN": self.token,
        }

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> GateOptions:
        """From `to_environment`."""
        hosts, origins = (
            tuple(part for part in environment.get(ENVIRONMENT + name, "").split(",") if part)
            for name in ("HOSTS", "ORIGINS")
        )
        return cls(hosts, origins, environment.get(ENVIRONMENT + "TOKEN", ""))


class Gate:
    """ASGI middleware that refuses a foreign Host (403), a foreign Origin (403) and a missing token (401).

    A page of another server can make a browser ask this one; its Origin gives it away, or, where its name was made to
    lead here, its Host.

    Args:
        app: what answers.
        options: who may ask.
    """

    def __init__(self, app: Any, options: GateOptions) -> None:
        self.app, self.options = app, options
        self.names = {*LOOPBACK, socket.gethostname().lower(), *(host.lower() for host in options.hosts)}

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer, or refuse with a message."""
        refused = self.refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refused is None:
            await self.app(scope, receive, send)
            return
        from starlette.responses import JSONResponse, RedirectResponse

        status, message = refused
        if status == 401 and scope.get("method") == "GET" and self._is_token(_asked(scope, "token")):
            answer = RedirectResponse(scope["path"], status_code=303)  # the token leaves the address line
            answer.set_cookie(COOKIE, self.options.token, httponly=True, samesite="strict")
            await answer(scope, receive, send)
            return
        await JSONResponse({"detail": message}, status_code=status)(scope, receive, send)

    def refusal(self, scope: Mapping[str, Any]) -> tuple[int, str] | None:
        """Status and message of a request that is refused."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self.answers_to(host_name(host)):
            return 403, f"the server does not answer to the host {host[:80]!r}; list it with --allow-host."
        own = f"{scope.get('scheme', 'http')}://{host}"
        if origin is not None and not _among(origin, (*self.options.origins, own)):
            return 403, f"pages of {origin[:80]} may not ask this server; list them with --allow-origin."
        asks_first = scope.get("method") == "OPTIONS" and "access-control-request-method" in headers
        if self.options.token and not asks_first:
            said = headers.get("authorization", "").removeprefix("Bearer ").strip()
            if not (self._is_token(said) or self._is_token(_cookie(headers.get("cookie", "")))):
                return 401, "the server asks for its token: the header Authorization: Bearer TOKEN, or ?token=TOKEN."
        return None

    def _is_token(self, said: str) -> bool:
        return hmac.compare_digest(said.encode(), self.options.token.encode())

    def answers_to(self, name: str) -> bool:
        """Whether a host's name is this server's."""
        return name in self.names or "*" in self.names or is_address(name)


def _asked(scope: Mapping[str, Any], name: str) -> str:
    """An entry of the address's query."""
    return parse_qs(scope.get("query_string", b"").decode("latin-1")).get(name, [""])[0]


def _cookie(header: str) -> str:
    """The token that a browser kept."""
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def check_address(host: str, token: str, insecure: bool, who: str) -> None:
    """Refuse to let other machines in without a token.

    Args:
        host: address to listen on.
        token: that requests must carry.
        insecure: the user says that the network is his alone.
        who: which clients can send a token, for the message.

    Raises:
        ValueError: an address that other machines reach, and no token.
    """
    if not (is_loopback(host) or token or insecure):
        raise ValueError(
            f"{host} lets other machines in: give --token ({who}), or --insecure where the network is yours alone."
        )


def host_name(host: str) -> str:
    """A Host header without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def is_address(name: str) -> bool:
    """Whether this is an address in digits."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def _among(origin: str, allowed: Sequence[str]) -> bool:
    return "*" in allowed or origin.rstrip("/").lower() in {one.rstrip("/").lower() for one in allowed}
