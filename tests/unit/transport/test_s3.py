"""Signatures, against the examples of Amazon's documentation; and what answers say."""

from datetime import UTC, datetime

import pytest

from reportd.config.secrets import Secret
from reportd.config.settings import S3Settings
from reportd.errors import OutputError
from reportd.transport.client import Client
from reportd.transport.exchange import Answer, Call, Failure, FailureKind
from reportd.transport.s3 import BucketCalls, Upload, signed_headers

EXAMPLE_KEY = Secret("AKIAIOSFODNN7EXAMPLE")
EXAMPLE_SECRET = Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOON = 1_800_000_000.0

PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Bucket>b</Bucket><NextKeyMarker>raw/x</NextKeyMarker><NextUploadIdMarker>u1</NextUploadIdMarker>
<IsTruncated>{more}</IsTruncated><Upload><Key>raw/a&amp;b</Key><UploadId>u{number}</UploadId>
<Initiator><ID>x</ID></Initiator><Initiated>2026-11-22T04:00:00.000Z</Initiated></Upload>
</ListMultipartUploadsResult>"""


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("lifecycle=", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_the_documentations_examples(query: str, signature: str) -> None:
    """The same keys, instant and request give the same signature."""
    headers = signed_headers(
        method="GET",
        host="examplebucket.s3.amazonaws.com",
        path="/",
        query=query,
        body=b"",
        access_key=EXAMPLE_KEY,
        secret_key=EXAMPLE_SECRET,
        region="us-east-1",
        now=datetime(2013, 5, 24, tzinfo=UTC),
    )

    assert headers["Authorization"].endswith(f"Signature={signature}")
    assert EXAMPLE_SECRET.reveal() not in str(headers)


class Answers(Client):
    """A client that a test gives the answers of."""

    def __init__(self, *answers: Answer | Failure) -> None:
        self.answers = list(answers)
        self.calls: list[Call] = []

    def send(self, call: Call) -> Answer | Failure:
        self.calls.append(call)
        return self.answers.pop(0)


def answer(status: int, body: str = "") -> Answer:
    """Return an answer."""
    return Answer(status=status, headers={}, body=body.encode(), seconds=0.0)


def calls_with(*answers: Answer | Failure, endpoint: str | None = None) -> BucketCalls:
    """Return the calls to a bucket that answers so."""
    settings = S3Settings(
        access_key=EXAMPLE_KEY, secret_key=EXAMPLE_SECRET, region="eu-central-1", endpoint=endpoint
    )
    return BucketCalls(Answers(*answers), settings, "b", lambda: NOON)


def sent(calls: BucketCalls) -> list[Call]:
    """Return what was sent."""
    client = calls._client
    assert isinstance(client, Answers)
    return client.calls


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (None, "https://s3.eu-central-1.amazonaws.com/b/raw/a%252Fb%20c"),
        ("http://10.0.0.7:7070", "http://10.0.0.7:7070/b/raw/a%252Fb%20c"),
    ],
)
def test_a_key_is_encoded_once(endpoint: str | None, url: str) -> None:
    """Keys hold percent signs of their own."""
    calls = calls_with(answer(204), endpoint=endpoint)
    calls.delete("raw/a%2Fb c")
    (call,) = sent(calls)

    assert (call.method, call.url, call.timeout_seconds) == ("DELETE", url, 9.0)
    assert EXAMPLE_KEY.reveal() not in repr(call)


@pytest.mark.parametrize(("status", "is_written"), [(200, True), (412, False), (409, False)])
def test_what_is_there_stays(status: int, *, is_written: bool) -> None:
    """Somebody else was first, or is at it right now."""
    calls = calls_with(answer(status))

    assert calls.put_if_absent("raw/_reportd/store", b"id") == is_written
    assert sent(calls)[0].headers == {"If-None-Match": "*"}


def test_uploads_come_in_pages() -> None:
    """Until the last one."""
    pages = [answer(200, PAGE.format(more=more, number=n)) for n, more in enumerate(("true", "no"))]
    calls = calls_with(*pages)
    at = datetime(2026, 11, 22, 4, tzinfo=UTC).timestamp()

    found = calls.uploads("raw/_reportd/")

    assert found == [Upload("raw/a&b", "u0", at), Upload("raw/a&b", "u1", at)]
    assert sent(calls)[1].url.endswith(
        "/b?key-marker=raw%2Fx&prefix=raw%2F_reportd%2F&upload-id-marker=u1&uploads="
    )


@pytest.mark.parametrize("status", [204, 404])
def test_what_is_gone_is_gone(status: int) -> None:
    """A deletion or an abortion may come twice."""
    calls = calls_with(answer(status), answer(status))
    calls.delete("raw/x")
    calls.abort(Upload("raw/x", "u", 0.0))

    assert sent(calls)[1].url.endswith("/b/raw/x?uploadId=u")


@pytest.mark.parametrize(
    ("came", "says"),
    [
        (answer(503, "<Error><Code>SlowDown</Code></Error>"), "delete raw/x: HTTP 503 SlowDown"),
        (answer(403), "delete raw/x: HTTP 403"),
        (Failure(kind=FailureKind.TIMEOUT, detail="no answer", seconds=9.0), "no answer"),
    ],
)
def test_anything_else_is_an_output_error(came: Answer | Failure, says: str) -> None:
    """It says what was refused."""
    with pytest.raises(OutputError, match=says):
        calls_with(came).delete("raw/x")
