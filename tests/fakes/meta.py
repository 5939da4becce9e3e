"""Meta Insights: runs that take their time, refusals with HTTP 400 and a code, usage headers."""

import copy
import re
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

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
    answer_json,
    conversions_of,
    recorded,
)
from tests.fakes.jobs import Job, Jobs

PAGE_ROWS = 7
"""Fewer than are asked for: Meta cuts pages as it likes."""
MICROS = Decimal(1_000_000)
_PATH = re.compile(r"/v26\.0/(act_)?(\w+)(/insights)?")


class Meta(Fake):
    """``POST /v26.0/act_ID/insights``, ``GET /v26.0/RUN``, ``GET /v26.0/RUN/insights``."""

    name = "meta"
    # .../graph-api/overview/rate-limiting: by ad account, whose number grows: the file's own
    limits = (Limit(per="account", calls=1, seconds=1, meter="bucket", burst=3),)

    def __init__(self, *arguments: Any) -> None:
        """Start without runs."""
        super().__init__(*arguments)
        self.jobs = Jobs(seconds_to_make=40, url_seconds=3600)
        self.most_days: int = 10_000
        """A run of more is too much for it."""
        self.used = 10
        """Per cent of the ad account's calls that are used."""
        self.refusals: list[int] = []
        """Codes of the next refusals for too many calls, first in first out."""

    def account_of(self, asked: Asked) -> str:
        """See `Fake.account_of`."""
        found = _PATH.fullmatch(asked.path)
        if found is None or found[1]:
            return found[2] if found else ""
        return self.jobs.all[int(found[2]) - 1000].account

    def play(self, asked: Asked, now: float) -> Answer:
        """Answer one of the three."""
        # recorded: meta/report_run_completed.json; the token in the header instead of the query:
        # developers.facebook.com/docs/facebook-login/security
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            raise _said(400, 190, "Error validating access token: Session has expired.")
        if asked.path == "/v26.0/me/adaccounts":
            return _listed(asked)
        found = _PATH.fullmatch(asked.path)
        assert found is not None
        if self.refusals:
            raise RefusedError(self._too_many(self.refusals.pop(0), minutes=3))
        if asked.method == "POST":
            return self._create(found[2], asked, now)
        job = self.jobs.all[int(found[2]) - 1000]
        return self._read(job, asked) if found[3] else self._poll(job, now)

    def _create(self, account: str, asked: Asked, now: float) -> Answer:
        if account in self.gone:
            # developers.facebook.com/docs/graph-api/guides/error-handling: 200 to 299: permission
            raise _said(403, 200, "Ad account owner has NOT granted ads_read permission")
        form = asked.form
        days = orjson.loads(form["time_range"])
        orjson.loads(form["filtering"])
        count = (_ordinal(days["until"]) - _ordinal(days["since"])) + 1
        if count > self.most_days:
            # .../insights/error-codes: 100, 1504018
            raise _said(400, 100, "Your request timed out. Try a smaller date range", 1504018)
        assert form["time_increment"] == "1"
        job = self.jobs.create(account, {**form, **days}, now)
        return answer_json(200, {"report_run_id": str(1000 + job.number)})

    def _poll(self, job: Job, now: float) -> Answer:
        job.polls += 1
        if job.fate == "too big":
            found = recorded("meta/report_run_failed.json")
            found["error_message"] = "Please reduce the amount of data you're asking for"
            return answer_json(200, found)
        if job.fate == "failed":
            # recorded: meta/report_run_failed.json
            return answer_json(200, recorded("meta/report_run_failed.json"))
        found = recorded("meta/report_run_completed.json")
        if job.ready_at > now or job.fate == "99 %":
            share = int(99 * min(1.0, (now - job.made_at) / (job.ready_at - job.made_at)))
            found |= {"async_status": "Job Running", "async_percent_completion": share}
            # developers.facebook.com/docs/marketing-api/insights: Completed is not enough: at 100
            if job.polls > 2:
                found["async_status"] = "Job Completed"
        if job.fate == "skipped":
            found |= {"async_status": "Job Skipped", "async_percent_completion": 0}
        return answer_json(200, found, **self._usage(0))

    def _read(self, job: Job, asked: Asked) -> Answer:
        rows = self.rows(job.what["level"], job.account, job.what["since"], job.what["until"])
        start = int(asked.query.get("after", "0"))
        shown = rows[start : start + min(PAGE_ROWS, int(asked.query["limit"]))]
        fields = job.what["fields"].split(",")
        paging: dict[str, Any] = {"cursors": {"before": str(start), "after": "x"}}
        if start + len(shown) < len(rows):
            after = {"limit": "500", "after": str(start + len(shown)), "access_token": TOKEN}
            # airbyte: unit_tests/resource/http: the next URL repeats the token
            paging["next"] = f"https://graph.facebook.com{asked.path}?{urlencode(after)}"
        data = [_record(row, job.account, fields) for row in shown]
        return answer_json(200, {"data": data, "paging": paging}, **self._usage(0))

    def slow_down(self, now: float) -> Answer:
        """Say 80000, with minutes in a header."""
        del now
        return self._too_many(80000, minutes=2)

    def _too_many(self, code: int, minutes: int) -> Answer:
        # recorded: meta/error_80000.json, meta/header_x_business_use_case_usage.json
        said = recorded("meta/error_80000.json")
        said["error"]["code"] = code
        return answer_json(400, said, **self._usage(minutes))

    def _usage(self, minutes: int) -> dict[str, str]:
        found = copy.deepcopy(recorded("meta/header_x_business_use_case_usage.json"))
        for uses in found.values():
            uses[0] |= {"estimated_time_to_regain_access": minutes, "call_count": self.used}
        return {"x_business_use_case_usage": orjson.dumps(found).decode()}

    def wanted(self, report: str, account: str, row: Row) -> dict[str, Any]:
        """See `Fake.wanted`."""
        purchases = conversions_of(row)
        found = {
            "account": account,
            "currency": "CHF",
            "campaign_id": f"c{row.campaign_id}",
            "campaign_name": row.name,
            "impressions": row.impressions,
            "clicks": row.clicks or None,
            "link_clicks": row.clicks // 2 or None,
            "reach": row.impressions,
            "spend": row.cost_micros / MICROS,
            "purchases": float(purchases) if purchases else None,
            "purchase_value": Decimal(purchases) * 9 if purchases else None,
            "actions": orjson.dumps(_actions(row, 1)).decode() if purchases else None,
            "action_values": orjson.dumps(_actions(row, 9)).decode() if purchases else None,
        }
        if report == "campaigns":
            return {**found, "objective": "OUTCOME_SALES"}
        return {
            **found,
            "adset_id": f"s{row.campaign_id}",
            "adset_name": row.name,
            "ad_id": row.campaign_id,
            "ad_name": row.name,
        }


def _listed(asked: Asked) -> Answer:
    # developers.facebook.com/docs/graph-api/reference/user/adaccounts; two pages
    start = int(asked.query.get("after", "0"))
    found = [
        {
            "account_id": one.account,
            "id": f"act_{one.account}",
            "name": one.name,
            "currency": one.currency,
            "timezone_name": one.timezone,
            "account_status": 1 if one.account != "1003" else 2,
        }
        for one in KNOWN[start : start + 2]
    ]
    after = {**asked.query, "after": "2", "access_token": TOKEN}
    following = f"https://graph.facebook.com/v26.0/me/adaccounts?{urlencode(after)}"
    return answer_json(200, {"data": found, "paging": {} if start else {"next": following}})


def _ordinal(day: str) -> int:
    return date.fromisoformat(day).toordinal()


def _said(status: int, code: int, message: str, subcode: int = 0) -> RefusedError:
    error = {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "A"}
    if subcode:
        error["error_subcode"] = subcode
    return RefusedError(answer_json(status, {"error": error}))


def _actions(row: Row, each: int) -> list[dict[str, str]]:
    count = conversions_of(row)
    clicks = {"action_type": "link_click", "value": str(row.clicks)}
    return [clicks, {"action_type": "purchase", "value": str(count * each)}]


def _record(row: Row, account: str, fields: list[str]) -> dict[str, Any]:
    # recorded: meta/ads_insights_action_product_id.json: numbers are texts, lists of actions; what
    # did not happen is left out
    found: dict[str, Any] = {
        "date_start": row.date,
        "account_id": account,
        "account_currency": "CHF",
        "campaign_id": f"c{row.campaign_id}",
        "campaign_name": row.name,
        "objective": "OUTCOME_SALES",
        "adset_id": f"s{row.campaign_id}",
        "adset_name": row.name,
        "ad_id": row.campaign_id,
        "ad_name": row.name,
        "impressions": str(row.impressions),
        "clicks": str(row.clicks) if row.clicks else None,
        "inline_link_clicks": str(row.clicks // 2) if row.clicks // 2 else None,
        "reach": str(row.impressions),
        "spend": f"{row.cost_micros / MICROS:f}",
        "actions": _actions(row, 1) if conversions_of(row) else None,
        "action_values": _actions(row, 9) if conversions_of(row) else None,
    }
    kept = {name: found[name] for name in fields if found.get(name) is not None}
    return {**kept, "date_stop": row.date}
