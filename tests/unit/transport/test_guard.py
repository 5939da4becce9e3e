"""Hosts and addresses."""

import pytest

from reportd.transport.guard import is_public, refusal


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.acme.com/x", "api.acme.com"),
        ("https://API.acme.com:443/x", "api.acme.com"),
        ("https://eu.acme.com/", "*.acme.com"),
        ("https://a.b.acme.com/", "*.acme.com"),
        ("https://api.acme.com:8443/", "api.acme.com:8443"),
        ("https://api.acme.com./x", "api.acme.com"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]"),
    ],
)
def test_the_partners_own_hosts_are_allowed(url: str, host: str) -> None:
    """What the partner file names may be called."""
    assert refusal(url, (host,), allow_private=False) == ""


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.com/",
        "https://acme.com/",  # a wildcard is for what is below
        "https://api.acme.com.evil.com/",
        "https://evilacme.com/",
        "https://api.acme.com:8443/",
        "https://api.acme.com@evil.com/",
        "https://evil.com#api.acme.com",
        "https://evil.com\\@api.acme.com/",
        "https://user:pw@api.acme.com/",
        "http://api.acme.com/",
        "ftp://api.acme.com/",
        "file:///etc/passwd",
        "//api.acme.com/",
        "https:///x",
        "https://api.acme.com/\r\nHost: evil.com",
        "https://api.acme.com/ x",
        "https://api.acme.com:99999/",
        "https://\uff41pi.acme.com/",
        "https://[::1",
        "",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    """No spelling of a URL leads to a host that is not named."""
    assert refusal(url, ("api.acme.com", "*.acme.com"), allow_private=False)


def test_plain_http_only_where_it_is_allowed() -> None:
    """A partner inside the house may speak plain http."""
    assert refusal("http://127.0.0.1:8080/", ("127.0.0.1:8080",), allow_private=True) == ""
    assert refusal("http://127.0.0.1:8080/", ("127.0.0.1:8080",), allow_private=False)


def test_a_refusal_shows_neither_path_nor_query() -> None:
    """Refusals are logged; a URL may hold secrets."""
    text = refusal("https://evil.com/path?key=hunter2", ("a.com",), allow_private=False)

    assert "hunter2" not in text
    assert "path" not in text


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.2.1", "198.18.0.1",
        "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1",
        "ff0e::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "localhost", "", "1.2.3",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    """Nothing inside the house is called, however it is wrapped."""
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "100.63.255.255", "100.128.0.0", "2606:4700::1111", "::ffff:8.8.8.8",
     "64:ff9b::808:808"],
)  # fmt: skip
def test_public_addresses(address: str) -> None:
    """The public internet is what partners live on."""
    assert is_public(address)
