"""The few requests to a bucket that pyarrow's file system has no words for.

Signed (AWS Signature Version 4) and sent by the guarded `Client`: each is one try with a deadline.
pyarrow cannot write only if there is nothing yet, cannot list or abort multipart uploads, and
before and after a deletion it sends three requests more, one of which leaves an empty object.
Used by `reportd.sinks.s3` through a protocol of its own.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from urllib.parse import quote, urlsplit

from reportd.config.secrets import Secret
from reportd.config.settings import S3Settings
from reportd.errors import OutputError
from reportd.model.content import head_of, whole
from reportd.transport.client import Client
from reportd.transport.exchange import Answer, Call, Failure

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = "-_.~"
_MOST_PAGES = 1000
_MOST_ANSWER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that was begun and neither completed nor aborted."""

    key: str
    id: str
    begun: float
    """Epoch seconds."""


class BucketCalls:
    """Signed requests to one bucket. Thread-safe."""

    def __init__(
        self,
        client: Client,
        settings: S3Settings,
        bucket: str,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Open nothing yet."""
        self._client = client
        self._settings = settings
        self._wall = wall
        endpoint = settings.endpoint or f"https://s3.{settings.region}.amazonaws.com"
        self._endpoint = endpoint
        self._path = f"/{bucket}"
        parts = urlsplit(endpoint)
        self._host = parts.netloc.lower()
        self._timeout_seconds = settings.connect_timeout_seconds + settings.request_timeout_seconds

    def put_if_absent(self, key: str, body: bytes) -> bool:
        """Write an object unless there is one; say whether it was written.

        A server that does not know ``If-None-Match`` writes over it.
        """
        answer = self._send("PUT", key, {}, body, {"If-None-Match": "*"})
        if answer.status in {409, 412}:
            return False
        self._expect(answer, f"write {key}", 200)
        return True

    def delete(self, key: str) -> None:
        """Delete an object; one that is gone already is fine."""
        self._expect(self._send("DELETE", key, {}), f"delete {key}", 200, 204, 404)

    def uploads(self, prefix: str) -> list[Upload]:
        """Return the multipart uploads that are under way, or were left, below a prefix."""
        found: list[Upload] = []
        markers: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            answer = self._send("GET", "", {"uploads": "", "prefix": prefix, **markers})
            self._expect(answer, "list multipart uploads", 200)
            text = whole(answer.body).decode("utf-8", "replace")
            found += _uploads(text)
            if _field(text, "IsTruncated") != "true":
                break
            markers = {
                "key-marker": _field(text, "NextKeyMarker"),
                "upload-id-marker": _field(text, "NextUploadIdMarker"),
            }
        return found

    def abort(self, upload: Upload) -> None:
        """Give up an upload: its parts are deleted; one that is over already is fine."""
        answer = self._send("DELETE", upload.key, {"uploadId": upload.id})
        self._expect(answer, f"abort the upload of {upload.key}", 200, 204, 404)

    def _send(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        path = quote(f"{self._path}/{key}" if key else self._path, safe=f"/{_UNRESERVED}")
        asked = "&".join(
            f"{quote(name, safe=_UNRESERVED)}={quote(query[name], safe=_UNRESERVED)}"
            for name in sorted(query)
        )
        settings = self._settings
        signed = signed_headers(
            method=method,
            host=self._host,
            path=path,
            query=asked,
            body=body,
            access_key=settings.access_key,
            secret_key=settings.secret_key,
            region=settings.region,
            now=datetime.fromtimestamp(self._wall(), UTC),
        )
        answer = self._client.send(
            Call(
                method=method,
                url=f"{self._endpoint}{path}" + (f"?{asked}" if asked else ""),
                hosts=(self._host,),
                headers=headers or {},
                secret_headers=tuple(signed.items()),
                body=body if method == "PUT" else None,
                timeout_seconds=self._timeout_seconds,
                allow_private=True,  # whoever configures the output chooses where it is
                max_answer_bytes=_MOST_ANSWER_BYTES,
            )
        )
        if isinstance(answer, Failure):
            raise OutputError(f"output: {method} {key}: {answer.detail}")
        return answer

    def _expect(self, answer: Answer, what: str, *statuses: int) -> None:
        if answer.status not in statuses:
            code = _field(head_of(answer.body, 4096).decode("utf-8", "replace"), "Code")
            raise OutputError(f"output: {what}: HTTP {answer.status} {code[:100]}".rstrip())


def signed_headers(
    *,
    method: str,
    host: str,
    path: str,
    query: str,
    body: bytes,
    access_key: Secret,
    secret_key: Secret,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """Return the headers that make a request a signed one; path and query as they are sent."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{secret_key.reveal()}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    return {
        "x-amz-content-sha256": digest,
        "x-amz-date": stamp,
        "Authorization": (
            f"{_ALGORITHM} Credential={access_key.reveal()}/{scope},"
            f" SignedHeaders={names}, Signature={signature}"
        ),
    }


def _uploads(text: str) -> Iterator[Upload]:
    for part in re.findall(r"<Upload>(.*?)</Upload>", text, re.DOTALL):
        begun = datetime.fromisoformat(_field(part, "Initiated"))
        yield Upload(_field(part, "Key"), _field(part, "UploadId"), begun.timestamp())


def _field(text: str, name: str) -> str:
    """Return a field of an answer: S3's XML is flat, and no field of it has attributes."""
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return unescape(found[1]) if found else ""
