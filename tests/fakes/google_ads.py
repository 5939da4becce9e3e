"""Google Ads: searchStream's array of batches, 64-bit numbers as texts, delays in the error."""

import copy
import re
from decimal import Decimal
from typing import Any

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
    answer_json,
    conversions_of,
    recorded,
)

BATCH_ROWS = 3
DEVELOPER_TOKEN = "developer-token-0123456789"
MICROS = Decimal(1_000_000)
_QUERY = re.compile(
    r"SELECT (?P<fields>[a-z_., ]+) FROM (?P<table>[a-z_]+) "
    r"WHERE segments\.date BETWEEN '(?P<first>[\d-]+)' AND '(?P<last>[\d-]+)'"
)
_PATH = re.compile(r"/v26/customers/(\w+)/googleAds:searchStream")


class GoogleAds(Fake):
    """``POST /v26/customers/ID/googleAds:searchStream``."""

    name = "google_ads"
    attributes = {"manager": "9990001111"}
    secrets = {"google-ads-developer-token": DEVELOPER_TOKEN}
    # .../docs/productionize/rate-limits: by customer; the rate moves, this one is made up
    limits = (Limit(per="account", calls=4, seconds=1, meter="bucket"),)

    def __init__(self, *arguments: Any) -> None:
        """Start with a day's operations."""
        super().__init__(*arguments)
        self.left_today: float = 15_000

    def account_of(self, asked: Asked) -> str:
        """See `Fake.account_of`."""
        found = _PATH.fullmatch(asked.path)
        return found[1] if found else ""

    def play(self, asked: Asked, now: float) -> Answer:
        """Return the batches."""
        del now
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            raise _refused(401, "UNAUTHENTICATED", {"authenticationError": "OAUTH_TOKEN_INVALID"})
        if asked.headers.get("developer-token") != DEVELOPER_TOKEN:
            raise _refused(400, "INVALID_ARGUMENT", {"requestError": "DEVELOPER_TOKEN_INVALID"})
        self.left_today -= 1
        if self.left_today < 0:
            # recorded: google_ads/error_429_resource_exhausted.json
            raise RefusedError(
                answer_json(429, [recorded("google_ads/error_429_resource_exhausted.json")])
            )
        account = self.account_of(asked)
        if account in self.gone or "login-customer-id" not in asked.headers:
            error = {"authorizationError": "USER_PERMISSION_DENIED"}
            raise _refused(403, "PERMISSION_DENIED", error)
        if "FROM customer_client" in asked.json["query"]:
            return answer_json(200, [{"results": [_client(one) for one in KNOWN]}])
        query = _QUERY.fullmatch(asked.json["query"])
        if query is None:
            raise _refused(400, "INVALID_ARGUMENT", {"queryError": "UNEXPECTED_INPUT"})
        fields = query["fields"].split(", ")
        rows = self.rows(query["table"], account, query["first"], query["last"])
        found = [_picked(_record(row), fields) for row in rows]
        # recorded: google_ads/search_stream_zero_rows.json: a batch without "results"
        tail: dict[str, Any] = {"fieldMask": ",".join(map(_camel, fields)), "requestId": "t"}
        parts = [found[at : at + BATCH_ROWS] for at in range(0, len(found), BATCH_ROWS)]
        return answer_json(200, [*({"results": part, **tail} for part in parts), tail])

    def slow_down(self, now: float) -> Answer:
        """Say when to come back, in the error; as an array, like every answer of a stream."""
        del now
        said = copy.deepcopy(recorded("google_ads/error_429_resource_exhausted.json"))
        error = said["error"]["details"][0]["errors"][0]
        # .../reference/rpc/v20/QuotaErrorEnum.QuotaError and v24/QuotaErrorDetails
        error["errorCode"] = {"quotaError": "RESOURCE_TEMPORARILY_EXHAUSTED"}
        error["message"] = "Too many requests. Retry in 5 seconds."
        error["details"]["quotaErrorDetails"] = {
            "rateScope": "ACCOUNT",
            "rateName": "Requests per account",
            "retryDelay": "5s",
        }
        return answer_json(429, [said])

    def wanted(self, report: str, account: str, row: Row) -> dict[str, Any]:
        """See `Fake.wanted`."""
        found = {
            "account": account,
            "currency": "CHF",
            "campaign_id": int(row.campaign_id),
            "campaign_name": row.name,
            "impressions": row.impressions,
            "clicks": row.clicks,
            "cost": row.cost_micros / MICROS,
            "conversions": float(conversions_of(row)),
            "conversions_value": row.clicks / 4,
        }
        if report == "campaigns":
            more = {"campaign_status": "ENABLED", "channel": "SEARCH"}
            return {**found, **more, "all_conversions": float(conversions_of(row))}
        return {
            **found,
            "ad_group_id": 2 * int(row.campaign_id),
            "ad_group_name": row.name,
            "ad_id": 3 * int(row.campaign_id),
            "ad_name": None,
            "ad_type": "RESPONSIVE_SEARCH_AD",
            "ad_status": "ENABLED",
        }


def _client(known: Known) -> dict[str, Any]:
    # recorded: google_ads/search_stream_customer_client.json
    (found,) = recorded("google_ads/search_stream_customer_client.json")[0]["results"]
    found["customerClient"] |= {
        "id": known.account,
        "timeZone": known.timezone,
        "currencyCode": known.currency,
        "descriptiveName": known.name,
    }
    return dict(found)


def _refused(status: int, name: str, code: dict[str, str]) -> RefusedError:
    # recorded: google_ads/error_429_resource_exhausted.json, with another code
    detail = {"errors": [{"errorCode": code, "message": "refused"}], "requestId": "r"}
    error = {"code": status, "message": "refused", "status": name, "details": [detail]}
    return RefusedError(answer_json(status, [{"error": error}]))


def _camel(field: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), field)


def _record(row: Row) -> dict[str, Any]:
    # recorded: google_ads/search_stream_customer_client.json (64-bit numbers as texts, camel case);
    # an ad without a name has none: .../fields/v26/ad_group_ad
    number = int(row.campaign_id)
    return {
        "segments.date": row.date,
        "customer.currency_code": "CHF",
        "campaign.id": str(number),
        "campaign.name": row.name,
        "campaign.status": "ENABLED",
        "campaign.advertising_channel_type": "SEARCH",
        "ad_group.id": str(2 * number),
        "ad_group.name": row.name,
        "ad_group_ad.ad.id": str(3 * number),
        "ad_group_ad.ad.type": "RESPONSIVE_SEARCH_AD",
        "ad_group_ad.status": "ENABLED",
        "metrics.impressions": str(row.impressions),
        "metrics.clicks": str(row.clicks),
        "metrics.cost_micros": str(row.cost_micros),
        "metrics.conversions": float(conversions_of(row)),
        "metrics.conversions_value": row.clicks / 4,
        "metrics.all_conversions": float(conversions_of(row)),
    }


def _picked(record: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields:
        if field in record:
            *above, last = _camel(field).split(".")
            inner = found
            for name in above:
                inner = inner.setdefault(name, {})
            inner[last] = record[field]
    return found
