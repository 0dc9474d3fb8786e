"""What a reverse proxy says about a request: believed from named addresses alone, and taken out of the request.

Also the prefix under which a proxy serves us. What a caller may do is guard.py's business.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from annotate.errors import BadInput

FORWARDED = frozenset((b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip"))
FORWARDED |= {b"x-forwarded-port", b"x-forwarded-prefix", b"x-forwarded-server", b"x-forwarded-ssl"}
"""Headers by which a request could claim to be another's; nothing behind this file sees them."""


class Proxied:
    """Sets client and scheme of a request to what a trusted proxy says, and takes the prefix off its path."""

    def __init__(self, app: ASGIApp, *, root_path: str = "", trusted: Sequence[str] = ()) -> None:
        """root_path: the prefix, such as /trueloop. trusted: addresses or networks. Raises BadInput for others."""
        self.app, self.root_path, self.trusted = app, checked_prefix(root_path), networks(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            scope = dict(scope)
            if scope.get("client") and self._trusts(scope["client"][0]):
                self._believe(scope, Headers(scope=scope))
            scope["headers"] = [header for header in scope["headers"] if header[0] not in FORWARDED]
            path = scope["path"]
            if self.root_path and path.startswith(f"{self.root_path}/"):
                scope["path"] = path[len(self.root_path) :]
                scope["raw_path"] = scope["path"].encode("utf-8", "surrogateescape")
        await self.app(scope, receive, send)

    def _trusts(self, address: str) -> bool:
        try:
            return any(ip_address(address) in network for network in self.trusted)
        except ValueError:
            return False

    def _believe(self, scope: Scope, headers: Headers) -> None:
        if headers.get("x-forwarded-proto", "").strip().lower() == "https":
            scope["scheme"] = "https"
        # Each proxy appends whom it talks to: the last one that is no proxy of ours is the client, what stands
        # before it is only what the client says.
        for said in reversed(",".join(headers.getlist("x-forwarded-for")).split(",")):
            try:
                address = str(ip_address(said.strip()))
            except ValueError:
                return
            scope["client"] = (address, 0)
            if not self._trusts(address):
                return


def checked_prefix(root_path: str) -> str:
    """The prefix without a slash at its end; raises BadInput for one that is no plain path."""
    prefix = root_path.rstrip("/")
    plain = prefix.replace("/", "").replace("-", "").replace("_", "")
    if prefix and not (prefix.startswith("/") and "//" not in prefix and plain.isascii() and plain.isalnum()):
        raise BadInput(f"'{root_path}' is no prefix", next="Give a path such as --root-path /trueloop")
    return prefix


def networks(addresses: Sequence[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """The networks that these addresses name; raises BadInput for what is none."""
    try:
        return tuple(ip_network(address) for address in addresses)
    except ValueError as error:
        raise BadInput(
            f"a proxy is trusted by its address: {error}", next="Give --trust-proxy 127.0.0.1, or a network 10.0.0.0/8"
        ) from None
