"""Amazon Ads v3: duplicates (425), gzipped JSON at presigned URLs, 401s that are none."""

import gzip
import re
from decimal import Decimal
from typing import Any

import orjson

from reportd.demo.simulator.config import Limit
from reportd.demo.truth import Row
from reportd.transport.exchange import Answer
from tests.fakes.fake import (
    KNOWN,
    TOKEN,
    Asked,
    Fake,
    Known,
    RefusedError,
    answer,
    answer_json,
    conversions_of,
)
from tests.fakes.jobs import Job, Jobs

HOST = "advertising-api-eu.amazon.com"
CREATE_TYPE = "application/vnd.createasyncreportrequest.v3+json"
CLIENT_ID = "amzn1.application-oa2-client.0123456789"
MICROS = Decimal(1_000_000)
_REPORT = re.compile(r"/reporting/reports/00000000-0000-4000-8000-(\d{12})")
_SIGNATURE = re.compile(r"X-Amz-Signature=([\d.]+)$")


class AmazonAds(Fake):
    """``POST /reporting/reports``, ``GET /reporting/reports/ID``, ``GET`` at S3."""

    name = "amazon_ads"
    attributes = {"api_host": HOST}
    secrets = {"amazon-ads-client-id": CLIENT_ID}
    # .../concepts/rate-limiting: a bucket whose size moves; this one is made up
    limits = (Limit(per="credential", calls=4, seconds=1, meter="bucket"),)

    def __init__(self, *arguments: Any) -> None:
        """Start without reports."""
        super().__init__(*arguments)
        # urlExpiresAt is an hour ahead in what public code shows; minutes here, to see it end
        self.jobs = Jobs(seconds_to_make=600, url_seconds=60)
        self.false_401s = 0
        """How many of the next polls are refused although nothing is wrong."""

    def play(self, asked: Asked, now: float) -> Answer:
        """Answer one of the three."""
        if found := _SIGNATURE.search(asked.url):
            return self._download(asked, found[1], now)
        headers = asked.headers
        assert asked.host == HOST
        if headers.get("authorization") != f"Bearer {TOKEN}":
            raise _said(401, "Unauthorized")
        if headers.get("amazon-advertising-api-clientid") != CLIENT_ID:
            raise _said(401, "Unauthorized")
        if asked.path == "/v2/profiles":
            return answer_json(200, [_profile(one) for one in KNOWN])
        account = headers["amazon-advertising-api-scope"]
        if account in self.gone:
            raise _said(403, "Forbidden")
        if asked.method == "POST":
            return self._create(account, asked, now)
        found = _REPORT.fullmatch(asked.path)
        assert found is not None
        return self._poll(self.jobs.all[int(found[1])], now)

    def _create(self, account: str, asked: Asked, now: float) -> Answer:
        if asked.headers.get("content-type") != CREATE_TYPE:
            raise _said(415, "Unsupported Media Type")
        wanted = asked.json
        days = (wanted["startDate"], wanted["endDate"])
        assert wanted["configuration"]["format"] == "GZIP_JSON"
        for job in self.jobs.running(now):
            if job.account == account and job.what == wanted:
                # github.com/airbytehq/airbyte/issues/56957 and public code: the id stands in words
                said = {"code": "425", "detail": f"The Request is a duplicate of : {_id(job)}"}
                return answer_json(425, said)
        job = self.jobs.create(account, wanted, now)
        return answer_json(200, self._status(job, now) | {"startDate": days[0]})

    def _poll(self, job: Job, now: float) -> Answer:
        if self.false_401s:
            # airbyte: source-amazon-ads takes a 401 while polling for a passing one
            self.false_401s -= 1
            raise _said(401, "Unauthorized")
        job.polls += 1
        return answer_json(200, self._status(job, now))

    def _status(self, job: Job, now: float) -> dict[str, Any]:
        # the fields of an answer that public code shows (createAsyncReport, getAsyncReport)
        found = {
            "reportId": _id(job),
            "status": "PENDING" if job.polls < 2 else "PROCESSING",
            "url": None,
            "urlExpiresAt": None,
            "failureReason": None,
            "configuration": job.what["configuration"],
            "fileSize": None,
        }
        if job.ready_at > now:
            return found
        if job.fate == "failed":
            return found | {"status": "FAILED", "failureReason": "An internal error occurred"}
        signed = self.jobs.signature(job, now)
        bucket = "https://offline-report-storage-us-east-1-prod.s3.amazonaws.com"
        url = f"{bucket}/{_id(job)}/report.json.gz?X-Amz-Expires=60&X-Amz-Signature={signed}"
        return found | {"status": "COMPLETED", "url": url, "fileSize": 72}

    def _download(self, asked: Asked, signature: str, now: float) -> Answer:
        # docs.aws.amazon.com/AmazonS3: a presigned URL with an Authorization header is refused
        assert "authorization" not in asked.headers
        assert "amazon-advertising-api-clientid" not in asked.headers
        job = self.jobs.signed(signature, now)
        if job is None:
            said = b"<?xml version='1.0'?><Error><Message>Request has expired</Message></Error>"
            return answer(403, said)
        kind = job.what["configuration"]["reportTypeId"]
        columns = job.what["configuration"]["columns"]
        rows = self.rows(kind, job.account, job.what["startDate"], job.what["endDate"])
        found = [{name: _record(row)[name] for name in columns} for row in rows]
        packed = gzip.compress(orjson.dumps(found), mtime=0)
        return answer(200, packed, content_type="application/octet-stream")

    def slow_down(self, now: float) -> Answer:
        """Say 429 and Retry-After."""
        del now
        said = {"code": "429", "detail": "Too Many Requests"}
        return answer_json(429, said, retry_after="4")

    def wanted(self, report: str, account: str, row: Row) -> dict[str, Any]:
        """See `Fake.wanted`."""
        number = int(row.campaign_id)
        found = {
            "account": account,
            "currency": "CHF",
            "campaign_name": row.name,
            "impressions": row.impressions,
            "clicks": row.clicks,
            "cost": (row.cost_micros // 10_000) / Decimal(100),
            "purchases": conversions_of(row),
            "sales": Decimal(row.clicks) / 4,
            "units_sold": conversions_of(row),
            "campaign_id": number,
        }
        if report == "sp_campaigns":
            return {**found, "campaign_status": "ENABLED"}
        return {
            **found,
            "ad_group_id": 2 * number,
            "ad_group_name": row.name,
            "ad_id": 3 * number,
            "asin": f"B{row.campaign_id}",
            "sku": None,
        }


def _profile(known: Known) -> dict[str, Any]:
    # advertising.amazon.com/API/docs/en-us/reference/2/profiles
    return {
        "profileId": int(known.account),
        "countryCode": "CH",
        "currencyCode": known.currency,
        "timezone": known.timezone,
        "accountInfo": {"id": "E1", "type": "seller", "name": known.name},
    }


def _id(job: Job) -> str:
    return f"00000000-0000-4000-8000-{job.number:012}"


def _said(status: int, message: str) -> RefusedError:
    return RefusedError(answer_json(status, {"code": str(status), "detail": message}))


def _record(row: Row) -> dict[str, Any]:
    # the columns' names and kinds: .../guides/reporting/v3/columns; money as JSON numbers
    number = int(row.campaign_id)
    return {
        "date": row.date,
        "campaignId": number,
        "campaignName": row.name,
        "campaignStatus": "ENABLED",
        "campaignBudgetCurrencyCode": "CHF",
        "adGroupId": 2 * number,
        "adGroupName": row.name,
        "adId": 3 * number,
        "advertisedAsin": f"B{row.campaign_id}",
        "advertisedSku": None,
        "impressions": row.impressions,
        "clicks": row.clicks,
        "cost": (row.cost_micros // 10_000) / 100,
        "purchases14d": conversions_of(row),
        "sales14d": row.clicks / 4,
        "unitsSoldClicks14d": conversions_of(row),
    }
