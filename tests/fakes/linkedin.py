"""LinkedIn: a query syntax of its own, days in three numbers, 15,000 elements, no header."""

import re
from decimal import Decimal
from typing import Any

from reportd.demo.simulator.config import Limit
from reportd.demo.truth import Row
from reportd.transport.exchange import Answer
from tests.fakes.fake import KNOWN, TOKEN, Asked, Fake, RefusedError, answer_json, conversions_of

MOST_ELEMENTS = 15_000
MICROS = Decimal(1_000_000)
_DAY = r"\(year:(\d{4}),month:([1-9]\d?),day:([1-9]\d?)\)"
_RANGE = re.compile(rf"dateRange=\(start:{_DAY},end:{_DAY}\)(?:&|$)")
_ACCOUNT = re.compile(r"accounts=List\(urn%3Ali%3AsponsoredAccount%3A(\w+)\)(?:&|$)")
_FIELDS = re.compile(r"fields=([A-Za-z,]+)(?:&|$)")


class LinkedIn(Fake):
    """``GET /rest/adAnalytics?q=analytics``."""

    name = "linkedin"
    # .../concepts/rate-limits: by member; no number is published: the file's own
    limits = (Limit(per="credential", calls=6, seconds=10, meter="sliding"),)

    def __init__(self, *arguments: Any) -> None:
        """Start with a day's quota."""
        super().__init__(*arguments)
        self.left_today: float = float("inf")
        """Calls that the day still allows."""
        self.most_elements = MOST_ELEMENTS

    def play(self, asked: Asked, now: float) -> Answer:
        """Return all elements, or the first 15,000."""
        del now
        self.left_today -= 1
        if self.left_today < 0:
            raise RefusedError(_throttled())
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            raise _said(401, "Invalid access token")
        if asked.headers.get("linkedin-version", "") < "202511":
            # learn.microsoft.com/en-us/linkedin/marketing/versioning: 426 once a version is gone
            raise _said(426, "Requested version is not active")
        assert asked.headers.get("x-restli-protocol-version") == "2.0.0"
        if asked.path == "/rest/adAccounts":
            return _listed(asked)
        days, account = _RANGE.search(asked.url), _ACCOUNT.search(asked.url)
        fields = _FIELDS.search(asked.url)
        if not days or not account or not fields:
            raise _said(400, "Invalid query parameters passed to request")
        start, end = (
            f"{year}-{int(month):02}-{int(day):02}"
            for year, month, day in (days.groups()[:3], days.groups()[3:])
        )
        # .../ads-reporting: without access there is an empty answer, not a refusal
        known = account[1] not in self.gone
        rows = self.rows(asked.query["pivot"], account[1], start, end) if known else []
        elements = [
            _element(row, asked.query["pivot"], fields[1].split(","))
            for row in rows[: self.most_elements]
        ]
        # recorded: linkedin/ad_campaign_analytics_response_1.json
        paging = {"start": 0, "count": 10, "links": []}
        return answer_json(200, {"paging": paging, "elements": elements})

    def slow_down(self, now: float) -> Answer:
        """Say the sentence of the five-minute window: it has the time in words alone."""
        del now
        # airbyte: source-linkedin-ads/unit_tests/mock_server/test_ad_campaign_analytics.py
        said = (
            "The data request limit has been exceeded. More than 45 million metric values were "
            "requested in a 5-minute window."
        )
        return answer_json(429, {"status": 429, "message": said})

    def wanted(self, report: str, account: str, row: Row) -> dict[str, Any]:
        """See `Fake.wanted`."""
        kind = "creative" if report == "ads" else "campaign"
        return {
            "account": account,
            "currency": "CHF",
            kind: f"urn:li:sponsored{kind.title()}:{row.campaign_id}",
            "impressions": row.impressions,
            "clicks": row.clicks,
            "landing_page_clicks": row.clicks // 2,
            "cost_local": row.cost_micros / MICROS,
            "cost_usd": row.cost_micros / MICROS,
            "conversions": conversions_of(row),
            "leads": 0,
            "video_views": None,
            "engagements": row.clicks,
        }


def _listed(asked: Asked) -> Answer:
    # .../account-structure/create-and-manage-accounts: search, pageToken
    assert "search=(status:(values:List(ACTIVE)))" in asked.url
    start = int(asked.query.get("pageToken", "0"))
    found = [
        {"id": int(one.account), "name": one.name, "currency": one.currency, "status": "ACTIVE"}
        for one in KNOWN[start : start + 2]
    ]
    metadata = {} if start else {"nextPageToken": "2"}
    return answer_json(200, {"elements": found, "metadata": metadata})


def _said(status: int, message: str) -> RefusedError:
    return RefusedError(answer_json(status, {"status": status, "message": message}))


def _throttled() -> Answer:
    # learn.microsoft.com/en-us/linkedin/shared/api-guide/concepts/rate-limits
    said = "Resource level throttle limit for calls to this resource is reached."
    return answer_json(429, {"status": 429, "serviceErrorCode": 101, "message": said})


def _element(row: Row, pivot: str, fields: list[str]) -> dict[str, Any]:
    year, month, day = map(int, row.date.split("-"))
    that = {"year": year, "month": month, "day": day}
    # recorded: linkedin/ad_campaign_analytics_response_1.json: URNs, costs as texts
    found = {
        "dateRange": {"start": that, "end": that},
        "pivotValues": [f"urn:li:sponsored{pivot.title()}:{row.campaign_id}"],
        "impressions": row.impressions,
        "clicks": row.clicks,
        "landingPageClicks": row.clicks // 2,
        "costInLocalCurrency": f"{row.cost_micros / MICROS:f}",
        "costInUsd": f"{row.cost_micros / MICROS:f}",
        "externalWebsiteConversions": conversions_of(row),
        "oneClickLeads": 0,
        "totalEngagements": row.clicks,
    }
    return {name: found[name] for name in fields if name in found}
