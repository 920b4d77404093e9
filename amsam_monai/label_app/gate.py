"""Who may ask the label server: this machine's names, its own pages and listed ones, and whoever has the token."""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ENVIRONMENT = "AMSAM_LABEL_"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class GateOptions:
    """Who may ask.

    Args:
        hosts: names that the server answers to beside this machine's; addresses in digits always do, since what leads a
            browser astray is a name. "*" is any.
        origins: pages of other servers that may ask, say http://localhost:3000; "*" is any.
        token: what a request must carry as `Authorization: Bearer TOKEN`; "" asks for none.
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
        from starlette.responses import JSONResponse

        status, message = refused
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
            if not hmac.compare_digest(said.encode(), self.options.token.encode()):
                return 401, "the server asks for its token, as the header Authorization: Bearer TOKEN."
        return None

    def answers_to(self, name: str) -> bool:
        """Whether a host's name is this server's."""
        return name in self.names or "*" in self.names or is_address(name)


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
