"""GA4: rows as parallel lists, offsets, tokens by property, no ``rows`` where there are none."""

import re
from typing import Any

from reportd.demo.simulator.config import Limit
from reportd.demo.truth import Row
from reportd.transport.exchange import Answer
from tests.fakes.fake import KNOWN, TOKEN, Asked, Fake, RefusedError, answer_json, conversions_of

# developers.google.com/analytics/devguides/reporting/data/v1/quotas
TOKENS_PER_HOUR = 40_000
TOKENS_PER_DAY = 200_000
_PATH = re.compile(r"/v1beta/properties/(\w+):runReport")
_COUNTS = frozenset({"sessions", "engagedSessions", "totalUsers"})


class Ga4(Fake):
    """``POST /v1beta/properties/ID:runReport``."""

    name = "ga4"
    # .../quotas: ten requests of a property at once; one takes the driver a tenth of a second
    limits = (Limit(per="account", calls=10, seconds=0.099, meter="sliding"),)

    def __init__(self, *arguments: Any) -> None:
        """Start with full buckets of tokens."""
        super().__init__(*arguments)
        self.tokens_a_call = 10
        self.most_rows = 250_000
        self._used: dict[tuple[str, int, int], int] = {}

    def account_of(self, asked: Asked) -> str:
        """See `Fake.account_of`."""
        found = _PATH.fullmatch(asked.path)
        return found[1] if found else ""

    def play(self, asked: Asked, now: float) -> Answer:
        """Return a page."""
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            raise _said(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if asked.host == "analyticsadmin.googleapis.com":
            return _listed(asked)
        account = self.account_of(asked)
        if account in self.gone:
            said = "User does not have sufficient permissions for this property."
            raise _said(403, "PERMISSION_DENIED", said)
        quota = self._charge(account, now)
        wanted = asked.json
        (days,) = wanted["dateRanges"]
        dimensions = [one["name"] for one in wanted["dimensions"]]
        metrics = [one["name"] for one in wanted["metrics"]]
        kind = "ads" if "sessionManualAdContent" in dimensions else "campaigns"
        rows = self.rows(kind, account, days["startDate"], days["endDate"])
        start = int(wanted.get("offset", 0))
        shown = rows[start : start + min(int(wanted["limit"]), self.most_rows)]
        # .../rest/v1beta/RunReportResponse
        found: dict[str, Any] = {
            "dimensionHeaders": [{"name": name} for name in dimensions],
            "metricHeaders": [{"name": name, "type": _type(name)} for name in metrics],
            "metadata": {"currencyCode": wanted["currencyCode"], "timeZone": "Europe/Zurich"},
            "propertyQuota": quota,
            "kind": "analyticsData#runReport",
        }
        if shown:
            found["rowCount"] = len(rows)
            found["rows"] = [_row(row, dimensions, metrics) for row in shown]
        return answer_json(200, found)

    def others_use(self, account: str, tokens: int, now: float) -> None:
        """Let somebody else, a dashboard say, use up tokens of the property."""
        for seconds in (3600, 86_400):
            window = (account, seconds, int((now - 8 * 3600) // seconds))
            self._used[window] = self._used.get(window, 0) + tokens

    def _charge(self, account: str, now: float) -> dict[str, Any]:
        # .../quotas: hourly and daily tokens of the property
        # the days of this fake begin when Pacific's do in winter
        spent = []
        for seconds, most, words in (
            (3600, TOKENS_PER_HOUR, "per hour. These quota tokens will return in under an hour."),
            (86_400, TOKENS_PER_DAY, "per day. These quota tokens will return in under 24 hours."),
        ):
            window = (account, seconds, int((now - 8 * 3600) // seconds))
            used = self._used.get(window, 0) + self.tokens_a_call
            if used > most:
                raise _said(429, "RESOURCE_EXHAUSTED", f"Exhausted property tokens {words}")
            spent.append((window, used, most))
        for window, used, _ in spent:
            self._used[window] = used
        names = ("tokensPerHour", "tokensPerDay")
        return {
            name: {"consumed": self.tokens_a_call, "remaining": most - used}
            for name, (_, used, most) in zip(names, spent, strict=True)
        }

    def slow_down(self, now: float) -> Answer:
        """Say that ten calls are under way at once."""
        del now
        said = "Exhausted concurrent requests quota. Please send fewer requests concurrently."
        return _said(429, "RESOURCE_EXHAUSTED", said).answer

    def wanted(self, report: str, account: str, row: Row) -> dict[str, Any]:
        """See `Fake.wanted`."""
        found = {
            "account": account,
            "currency": "CHF",
            "campaign_name": row.name,
            "source": "google",
            "medium": "cpc",
            "sessions": row.impressions,
            "engaged_sessions": row.clicks,
            "key_events": float(conversions_of(row)),
            "revenue": row.clicks / 4,
        }
        if report == "campaigns":
            return {**found, "campaign_id": row.campaign_id, "users": row.clicks}
        return {**found, "ad_content": row.campaign_id, "term": "(not set)"}


def _listed(asked: Asked) -> Answer:
    # .../admin/v1/rest/v1beta/accountSummaries/list and properties/get
    if asked.path == "/v1beta/accountSummaries":
        named = [{"property": f"properties/{one.account}"} for one in KNOWN]
        if asked.query.get("pageToken") == "2":
            return answer_json(200, {"accountSummaries": [{"propertySummaries": named[2:]}]})
        found = [{"propertySummaries": named[:1]}, {"propertySummaries": named[1:2]}]
        return answer_json(200, {"accountSummaries": found, "nextPageToken": "2"})
    (one,) = (one for one in KNOWN if asked.path == f"/v1beta/properties/{one.account}")
    return answer_json(
        200,
        {
            "name": f"properties/{one.account}",
            "displayName": one.name,
            "timeZone": one.timezone,
            "currencyCode": one.currency,
        },
    )


def _said(status: int, name: str, message: str) -> RefusedError:
    error = {"code": status, "message": message, "status": name}
    return RefusedError(answer_json(status, {"error": error}))


def _type(metric: str) -> str:
    return "TYPE_INTEGER" if metric in _COUNTS else "TYPE_FLOAT"


def _row(row: Row, dimensions: list[str], metrics: list[str]) -> dict[str, Any]:
    # .../rest/v1beta/Row: every value is a text; dates have no dashes
    values = {
        "date": row.date.replace("-", ""),
        "sessionCampaignId": row.campaign_id,
        "sessionCampaignName": row.name,
        "sessionSource": "google",
        "sessionMedium": "cpc",
        "sessionManualAdContent": row.campaign_id,
        "sessionManualTerm": "(not set)",
        "sessions": str(row.impressions),
        "engagedSessions": str(row.clicks),
        "totalUsers": str(row.clicks),
        "keyEvents": str(conversions_of(row)),
        "totalRevenue": str(row.clicks / 4),
    }
    return {
        "dimensionValues": [{"value": values[name]} for name in dimensions],
        "metricValues": [{"value": values[name]} for name in metrics],
    }
