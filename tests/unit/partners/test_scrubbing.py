"""Secrets in what is kept: none, whether they are known or only look so."""

import gzip
import io
import zipfile

import pytest

from reportd.partners.scrubbing import scrubbed, scrubbed_headers, scrubbed_text

SECRETS = ("hunter2-token",)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("https://a.com/x?q=hunter2-token&b=1", "https://a.com/x?q=[secret]&b=1"),
        ("https://a.com/x?access_token=EAAB&after=2", "https://a.com/x?access_token=[secret]&after=2"),
        ("https://b/f?X-Amz-Date=1&X-Amz-Signature=abc", "https://b/f?X-Amz-Date=1&X-Amz-Signature=[secret]"),
        ('{"next": "https://a.com/x?b=1\\u0026access_token=EAAB\\u0026after=2"}',
         '{"next": "https://a.com/x?b=1\\u0026access_token=[secret]\\u0026after=2"}'),
        ('{"access_token" : "ya29.x\\"y", "n": 1}', '{"access_token" : "[secret]", "n": 1}'),
        ("client_secret=abc&grant_type=x", "client_secret=[secret]&grant_type=x"),
        ('{"nextPageToken": "abc", "token": "report-7", "signature_count": 5}',
         '{"nextPageToken": "abc", "token": "report-7", "signature_count": 5}'),
    ],
)  # fmt: skip
def test_texts(text: str, wanted: str) -> None:
    """Known secrets go, and so do tokens and signatures; what a flow needs stays."""
    assert wanted == scrubbed_text(text, SECRETS)
    assert wanted == scrubbed_text(wanted, SECRETS)


def test_packed_data_is_opened() -> None:
    """A secret within gzip or ZIP goes, too; packed data without one stays as it came."""
    dirty, clean = b"a,hunter2-token\n", b"a,b\n"
    packed = gzip.compress(clean, mtime=5)
    assert packed == scrubbed(packed, SECRETS)
    assert b"a,[secret]\n" == gzip.decompress(scrubbed(gzip.compress(dirty), SECRETS))

    found = scrubbed(_zip(dirty), SECRETS)
    with zipfile.ZipFile(io.BytesIO(found)) as opened:
        assert b"a,[secret]\n" == opened.read("report.csv")
    assert _zip(clean) == scrubbed(_zip(clean), SECRETS)


def test_half_of_a_gzip_is_kept() -> None:
    """A broken answer is recorded as it came: that it is broken is what matters."""
    half = gzip.compress(b"a,b\n" * 1000)[:20]

    assert half == scrubbed(half, SECRETS)


def test_headers() -> None:
    """Cookies and credentials keep their names alone; links lose their tokens."""
    headers = {
        "Authorization": "Basic abc",
        "set-cookie": "session=1",
        "link": '<https://a.com/?access_token=EAAB>; rel="next"',
    }

    assert {
        "Authorization": "[secret]",
        "set-cookie": "[secret]",
        "link": '<https://a.com/?access_token=[secret]>; rel="next"',
    } == scrubbed_headers(headers, SECRETS)


def _zip(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("report.csv"), data)
    return out.getvalue()
