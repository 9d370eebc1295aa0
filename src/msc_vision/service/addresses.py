"""Which addresses webhooks may be sent to: public ones over TLS, unless the site allows more."""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from msc_vision.errors import InvalidArgumentError
from msc_vision.service.settings import Webhooks

MAX_URL = 2000
Resolve = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a delivery goes: ``ip`` was checked, so the connection is made to it, whatever the name says later."""

    scheme: str
    host: str
    port: int
    path: str
    ip: str

    @property
    def url(self) -> str:
        """The URL to connect to."""
        ip = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{self.scheme}://{ip}:{self.port}{self.path}"

    @property
    def host_header(self) -> str:
        """The name that the receiver is asked for."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


_PORTS = {"https": 443, "http": 80}


def resolve(host: str, port: int) -> Sequence[str]:
    """Return the IP addresses of a name."""
    return [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def check_url(url: str, settings: Webhooks) -> SplitResult:
    """Return the parts of a URL that webhooks may be sent to, as far as the URL alone tells.

    Raises
    ------
    InvalidArgumentError
        If it is no https URL, carries credentials, or names an address that is not public.
    """
    if len(url) > MAX_URL or any(ord(char) < 33 or ord(char) > 126 or char == "\\" for char in url):
        raise InvalidArgumentError("A webhook's URL is plain ASCII without blanks, such as https://mes.example/hooks.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as err:
        raise InvalidArgumentError(f"{url[:200]!r} is no URL ({err}); write https://mes.example/hooks.") from err
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        raise InvalidArgumentError(f"{url[:200]!r} is no web address; write https://mes.example/hooks.")
    if parts.scheme == "http" and not settings.allow_http:
        raise InvalidArgumentError("Webhooks go over https; an admin allows http by `webhooks: {allow_http: true}`.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidArgumentError("A webhook's URL holds no user, password or #fragment; deliveries are signed.")
    literal = _literal(parts.hostname)
    if literal is not None:
        _check_public(literal, settings)
    elif parts.hostname.rstrip(".").lower().endswith(("localhost", ".local", ".internal")):
        _refuse(parts.hostname, settings)
    return parts


def target_of(url: str, settings: Webhooks, resolved: Resolve = resolve) -> Target:
    """Return where a delivery goes now, with the name looked up.

    Raises
    ------
    InvalidArgumentError
        As `check_url`; also if the name leads to an address that is not public.
    OSError
        If the name cannot be looked up.
    """
    parts = check_url(url, settings)
    host = str(parts.hostname)
    port = parts.port or _PORTS[parts.scheme]
    found = resolved(host, port)
    if not found:
        raise OSError(f"{host} has no address")
    for ip in found:
        _check_public(ipaddress.ip_address(ip.partition("%")[0]), settings)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path, found[0])


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, in any spelling that systems accept (127.1, 0x7f000001)."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    if not all(char in "0123456789abcdefxABCDEFX." for char in host) or not any(char.isdigit() for char in host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _check_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address, settings: Webhooks) -> None:
    mapped = getattr(address, "ipv4_mapped", None)
    real = mapped if mapped is not None else address
    if real.is_multicast or real.is_unspecified or real.is_link_local:  # 169.254.169.254 hands out cloud credentials
        raise InvalidArgumentError(f"{address} is no address that webhooks are ever sent to.")
    if not real.is_global:
        _refuse(str(address), settings)


def _refuse(host: str, settings: Webhooks) -> None:
    if not settings.allow_private:
        raise InvalidArgumentError(
            f"{host} is not a public address; an admin allows those of the site by `webhooks: {{allow_private: true}}`."
        )
