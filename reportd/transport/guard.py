"""Where a call may go: hosts that a partner file names, and public addresses.

Pure; used by `Client` for every call, and by ``partners`` for redirects and next-URLs.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

DEFAULT_PORTS = {"https": 443, "http": 80}
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_NAT64 = IPv6Network("64:ff9b::/96")


def refusal(url: str, hosts: Iterable[str], *, allow_private: bool) -> str:
    """Return why ``url`` is none that the partner file allows, or an empty string.

    ``hosts`` are names (``api.acme.com``: the scheme's own port), names with a port
    (``127.0.0.1:8080``) or wildcards (``*.acme.com``: every name below, not the name itself).
    The reason is safe to log: it names the host, never the path or the query.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return "the URL does not parse"
    if _UNSAFE.search(url):
        return "the URL holds a blank, a control character or a backslash"
    host = _plain_host(parts)
    if not host:
        return "the URL names no host"
    if parts.username is not None or parts.password is not None:
        return f"a URL of {host} holds a user name or a password"
    if parts.scheme != "https" and not (parts.scheme == "http" and allow_private):
        return f"not an https URL: {parts.scheme[:10]}://{host}"
    if not any(_fits(host, port, parts.scheme, pattern) for pattern in hosts):
        return f"not a host that the partner file names: {host}:{port}"
    return ""


def _plain_host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    return host if host.isascii() and len(host) <= 253 else ""


def _fits(host: str, port: int, scheme: str, pattern: str) -> bool:
    name, wanted = split_pattern(pattern)
    if port != (wanted or DEFAULT_PORTS[scheme]):
        return False
    if name.startswith("*."):
        return host.endswith(name[1:]) and len(host) >= len(name)
    return host == name


def split_pattern(pattern: str) -> tuple[str, int]:
    """Return a host pattern's name (lower case, no brackets) and port, 0 when it has none."""
    text = pattern.lower()
    if text.startswith("["):
        name, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        name, _, port = text.partition(":")
    return name.rstrip("."), int(port) if port.isdigit() else 0


def is_public(address: str) -> bool:
    """Return whether an IP address is on the public internet.

    Not so: private, loopback, link-local, shared (100.64/10), unspecified, multicast, reserved
    ones, and those that only wrap such an IPv4 address (mapped, NAT64, 6to4, Teredo).
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return _is_public(parsed)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        inner = _wrapped(address)
        if inner:
            return all(_is_public(one) for one in inner)
        if address.is_site_local:
            return False
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_private
    )


def _wrapped(address: IPv6Address) -> tuple[IPv4Address, ...]:
    if address.ipv4_mapped:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    if address.sixtofour:
        return (address.sixtofour,)
    return address.teredo or ()
