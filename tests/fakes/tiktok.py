"""TikTok: everything is HTTP 200, the body's code says what it means; a dash is no value."""

from decimal import Decimal
from typing import Any

import orjson

from reportd.demo.simulator.config import Limit
from reportd.demo.truth import Row
from reportd.transport.exchange import Answer
from tests.fakes.fake import KNOWN, TOKEN, Asked, Fake, RefusedError, answer_json, conversions_of

PAGE_ROWS = 1000
MICROS = Decimal(1_000_000)


class TikTok(Fake):
    """``GET /open_api/v1.3/report/integrated/get/``."""

    name = "tiktok"
    attributes = {"business_center": "7007"}
    # "App ... reaches the QPS limit 10": help.catchr.io, article 189
    limits = (Limit(per="partner", calls=10, seconds=1, meter="sliding"),)

    def play(self, asked: Asked, now: float) -> Answer:
        """Return a page."""
        del now
        if asked.headers.get("access-token") != TOKEN:
            raise _said(40105, "Access token is incorrect or has been revoked.")
        query = asked.query
        if "/report/" not in asked.path:
            return _listed(asked)
        account = query["advertiser_id"]
        if account in self.gone:
            raise _said(40001, "No permission to operate advertiser")
        rows = self.rows(query["data_level"], account, query["start_date"], query["end_date"])
        size, page = int(query["page_size"]), int(query["page"])
        # business-api.tiktok.com/portal/docs?id=1740302848100353: page_size 1 to 1000
        assert 1 <= size <= PAGE_ROWS
        metrics = orjson.loads(query["metrics"])
        entity, day = orjson.loads(query["dimensions"])
        listed = [
            {"dimensions": _dimensions(row, entity, day), "metrics": _metrics(row, metrics)}
            for row in rows[(page - 1) * size : page * size]
        ]
        pages = -(-len(rows) // size)
        # recorded: tiktok/advertisers_reports_hourly.json has code, message, data.list
        info = {"total_number": len(rows), "page": page, "page_size": size, "total_page": pages}
        data = {"list": listed, "page_info": info}
        return answer_json(200, {"code": 0, "message": "OK", "request_id": "1", "data": data})

    def slow_down(self, now: float) -> Answer:
        """Say 40100 with status 200, and no header."""
        del now
        return _said(40100, "App reaches the QPS limit 10").answer

    def wanted(self, report: str, account: str, row: Row) -> dict[str, Any]:
        """See `Fake.wanted`."""
        found = {
            "account": account,
            "currency": "CHF",
            "campaign_name": row.name,
            "impressions": row.impressions,
            "clicks": row.clicks,
            "spend": row.cost_micros / MICROS,
            "conversions": conversions_of(row) or None,
        }
        if report == "campaigns":
            return {**found, "campaign_id": row.campaign_id, "reach": row.impressions // 2}
        return {
            **found,
            "campaign_id": f"c{row.campaign_id}",
            "adgroup_id": f"g{row.campaign_id}",
            "adgroup_name": None,
            "ad_id": row.campaign_id,
            "ad_name": row.name,
            "video_plays": row.clicks,
        }


def _listed(asked: Asked) -> Answer:
    # business-api.tiktok.com/portal/docs?id=1739432717798401 and id=1739593083610113
    if asked.path == "/open_api/v1.3/bc/asset/get/":
        assert (asked.query["bc_id"], asked.query["asset_type"]) == ("7007", "ADVERTISER")
        page = int(asked.query["page"])
        shown = KNOWN[:2] if page == 1 else KNOWN[2:]
        found: list[dict[str, str]] = [{"asset_id": one.account} for one in shown]
    else:
        assert asked.path == "/open_api/v1.3/advertiser/info/"
        wanted = orjson.loads(asked.query["advertiser_ids"])
        found = [
            {
                "advertiser_id": one.account,
                "name": one.name,
                "currency": one.currency,
                "timezone": "Etc/GMT-1",
                "display_timezone": one.timezone,
                "status": "STATUS_ENABLE",
            }
            for one in KNOWN
            if one.account in wanted
        ]
    data = {"list": found, "page_info": {"total_page": 2}}
    return answer_json(200, {"code": 0, "message": "OK", "data": data})


def _said(code: int, message: str) -> RefusedError:
    said = {"code": code, "message": message, "request_id": "1", "data": {}}
    return RefusedError(answer_json(200, said))


def _dimensions(row: Row, entity: str, day: str) -> dict[str, str]:
    # recorded: tiktok/advertisers_reports_hourly.json: "2024-01-01 09:00:00", ids as texts
    return {entity: row.campaign_id, day: f"{row.date} 00:00:00"}


def _metrics(row: Row, wanted: list[str]) -> dict[str, Any]:
    # recorded: tiktok/advertisers_reports_hourly.json: some numbers as texts, others as numbers
    found = {
        "campaign_name": row.name,
        "campaign_id": f"c{row.campaign_id}",
        "adgroup_id": f"g{row.campaign_id}",
        "adgroup_name": "-",
        "ad_name": row.name,
        "spend": f"{row.cost_micros / MICROS:f}",
        "impressions": str(row.impressions),
        "clicks": str(row.clicks),
        "reach": str(row.impressions // 2),
        # airbyte: source-tiktok-marketing takes "-" for null
        "conversion": str(conversions_of(row)) if conversions_of(row) else "-",
        "video_play_actions": row.clicks,
    }
    return {name: found[name] for name in wanted}
