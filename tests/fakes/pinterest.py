"""Pinterest: reports by token, JSON by entity without zeros, links of five minutes, x-ratelimit."""

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
    RefusedError,
    answer,
    answer_json,
    conversions_of,
)
from tests.fakes.jobs import Job, Jobs

MICROS = Decimal(1_000_000)
REPORT_SECONDS = 3600.0
_PATH = re.compile(r"/v5/ad_accounts/(\w+)/reports")
_SIGNATURE = re.compile(r"Signature=([\d.]+)$")


class Pinterest(Fake):
    """``POST`` and ``GET /v5/ad_accounts/ID/reports``, ``GET`` at its storage."""

    name = "pinterest"
    # developers.pinterest.com/docs/reference/rate-limits: ads_analytics, standard access
    limits = (
        Limit(per="credential", calls=300, seconds=60, meter="sliding"),
        Limit(per="credential", calls=100, seconds=1, meter="sliding"),
    )

    def __init__(self, *arguments: Any) -> None:
        """Start without reports."""
        super().__init__(*arguments)
        # v5/openapi.json, analytics/get_report: link five minutes, report one hour
        self.jobs = Jobs(seconds_to_make=20, url_seconds=300)

    def play(self, asked: Asked, now: float) -> Answer:
        """Answer one of the three."""
        if found := _SIGNATURE.search(asked.url):
            return self._download(asked, found[1], now)
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            raise _said(401, 2, "Authentication failed.")
        if asked.path == "/v5/ad_accounts":
            return _listed(asked)
        found = _PATH.fullmatch(asked.path)
        assert found is not None
        if found[1] in self.gone:
            raise _said(403, 29, "You are not permitted to access that resource.")
        if asked.method == "GET":
            return self._poll(self.jobs.all[int(asked.query["token"], 16)], now)
        wanted = asked.json
        assert wanted["level"] in {"CAMPAIGN", "PIN_PROMOTION"}
        job = self.jobs.create(found[1], wanted, now)
        # v5/openapi.json, AdsAnalyticsCreateAsyncResponse
        said = {"report_status": "IN_PROGRESS", "token": f"{job.number:x}", "message": None}
        return answer_json(200, said)

    def _poll(self, job: Job, now: float) -> Answer:
        job.polls += 1
        # v5/openapi.json, BulkReportingJobStatus
        status, url = "FINISHED", None
        if job.ready_at > now:
            status = "IN_PROGRESS"
        elif job.fate in {"FAILED", "CANCELLED", "DOES_NOT_EXIST"}:
            status = job.fate
        elif now > job.ready_at + REPORT_SECONDS:
            status = "EXPIRED"
        else:
            signed = self.jobs.signature(job, now)
            url = f"https://pinterest-reports.s3.amazonaws.com/r.json?Signature={signed}"
        return answer_json(200, {"report_status": status, "url": url, "size": None})

    def _download(self, asked: Asked, signature: str, now: float) -> Answer:
        assert "authorization" not in asked.headers
        job = self.jobs.signed(signature, now)
        if job is None:
            return answer(403, b"<?xml version='1.0'?><Error>Request has expired</Error>")
        wanted = job.what
        rows = self.rows(wanted["level"], job.account, wanted["start_date"], wanted["end_date"])
        found: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            found.setdefault(row.campaign_id, []).append(_record(row, wanted["columns"]))
        return answer(200, orjson.dumps(found), content_type="application/json")

    def slow_down(self, now: float) -> Answer:
        """Say 429 and when the window is over."""
        del now
        # the headers: an assumption, see docs/partners/pinterest.rst
        said = {"code": 8, "message": "You have exceeded your rate limit. Try again later."}
        return answer_json(429, said, x_ratelimit_limit="300", x_ratelimit_reset="7")

    def wanted(self, report: str, account: str, row: Row) -> dict[str, Any]:
        """See `Fake.wanted`."""
        found = {
            "account": account,
            "currency": "CHF",
            "campaign_name": row.name,
            "impressions": row.impressions,
            "clicks": row.clicks or None,
            "outbound_clicks": row.clicks // 2 or None,
            "spend": row.cost_micros / MICROS,
            "conversions": float(conversions_of(row)) if conversions_of(row) else None,
            "conversions_value": Decimal(row.clicks) / 4 if row.clicks else None,
            "campaign_id": row.campaign_id,
        }
        if report == "campaigns":
            return {**found, "campaign_status": "ACTIVE", "objective": "AWARENESS"}
        return {
            **found,
            "ad_group_id": None,
            "ad_group_name": None,
            "ad_id": row.campaign_id,
            "ad_name": row.name,
            "pin_id": f"p{row.campaign_id}",
        }


def _listed(asked: Asked) -> Answer:
    # v5/openapi.json, ad_accounts/list: a bookmark, null on the last page
    start = int(asked.query.get("bookmark", "0"))
    found = [
        {"id": one.account, "name": one.name, "currency": one.currency, "country": "CH"}
        for one in KNOWN[start : start + 2]
    ]
    return answer_json(200, {"items": found, "bookmark": None if start else "2"})


def _said(status: int, code: int, message: str) -> RefusedError:
    # v5/openapi.json, Error
    return RefusedError(answer_json(status, {"code": code, "message": message}))


def _record(row: Row, columns: list[str]) -> dict[str, Any]:
    # v5/openapi.json, ReportingColumnAsync; "Reports in JSON will not zero-fill metrics"
    found = {
        "CAMPAIGN_ID": row.campaign_id,
        "CAMPAIGN_NAME": row.name,
        "CAMPAIGN_ENTITY_STATUS": "ACTIVE",
        "CAMPAIGN_OBJECTIVE_TYPE": "AWARENESS",
        "AD_ID": row.campaign_id,
        "AD_NAME": row.name,
        "PIN_ID": f"p{row.campaign_id}",
        "IMPRESSION_1": row.impressions,
        "CLICKTHROUGH_1": row.clicks,
        "OUTBOUND_CLICK_1": row.clicks // 2,
        "SPEND_IN_MICRO_DOLLAR": float(row.cost_micros),
        "TOTAL_CONVERSIONS": conversions_of(row),
        "TOTAL_CONVERSIONS_VALUE_IN_MICRO_DOLLAR": row.clicks * 250_000,
    }
    return {"DATE": row.date} | {name: found[name] for name in columns if found.get(name)}
