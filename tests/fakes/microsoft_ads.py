"""Microsoft: submit and poll over REST, a ZIP with a CSV in a preamble, URLs of five minutes."""

import csv
import io
import re
import zipfile
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
    RefusedError,
    answer,
    answer_json,
    conversions_of,
    recorded,
)
from tests.fakes.jobs import Job, Jobs

API = "/Reporting/v13/GenerateReport/"
DEVELOPER_TOKEN = "developer-token-0123456789"
MICROS = Decimal(1_000_000)
_SIGNATURE = re.compile(r"sig=([\d.]+)$")


class MicrosoftAds(Fake):
    """``POST .../GenerateReport/Submit``, ``POST .../Poll``, ``GET`` elsewhere."""

    name = "microsoft_ads"
    attributes = {"customer": "5550001"}
    secrets = {"microsoft-ads-developer-token": DEVELOPER_TOKEN}
    # .../guides/services-protocol: in a sliding minute; the number is internal: the file's own
    limits = (Limit(per="credential", calls=60, seconds=60, meter="sliding"),)

    def __init__(self, *arguments: Any) -> None:
        """Start without reports."""
        super().__init__(*arguments)
        # .../reporting-service/reportrequeststatus: the URL is valid for five minutes
        self.jobs = Jobs(seconds_to_make=30, url_seconds=300)
        self.most_running = 5

    def play(self, asked: Asked, now: float) -> Answer:
        """Answer one of the three."""
        if found := _SIGNATURE.search(asked.url):
            return self._download(asked, found[1], now)
        headers = asked.headers
        if headers.get("authorization") != f"Bearer {TOKEN}":
            raise _fault(401, 109, "AuthenticationTokenExpired")
        assert headers.get("developertoken") == DEVELOPER_TOKEN
        if asked.host == "clientcenter.api.bingads.microsoft.com":
            return _listed(asked)
        assert headers.get("customerid") == "5550001"
        account = headers["customeraccountid"]
        if account in self.gone:
            raise _fault(400, 106, "UserIsNotAuthorized")
        if asked.path == f"{API}Submit":
            return self._submit(account, asked.json["ReportRequest"], now)
        assert asked.path == f"{API}Poll"
        return self._poll(asked.json["ReportRequestId"], account, now)

    def _submit(self, account: str, wanted: dict[str, Any], now: float) -> Answer:
        if len(self.jobs.running(now)) >= self.most_running:
            # .../guides/services-protocol: 207
            raise _fault(400, 207, "ConcurrentRequestOverLimit")
        assert wanted["Scope"] == {"AccountIds": [account]}
        assert wanted["FormatVersion"] == "2.0"
        for day in (wanted["Time"]["CustomDateRangeStart"], wanted["Time"]["CustomDateRangeEnd"]):
            assert all(isinstance(day[part], int) for part in ("Year", "Month", "Day"))
        job = self.jobs.create(account, wanted, now)
        # recorded: bing/generate_report.json
        return answer_json(200, {"ReportRequestId": f"id-{job.number}"})

    def _poll(self, name: str, account: str, now: float) -> Answer:
        job = self.jobs.all[int(name.removeprefix("id-"))]
        # .../pollgeneratereport: with the same user
        assert job.account == account
        job.polls += 1
        status = "Error" if job.fate == "failed" else "Success"
        url = None
        if job.ready_at > now:
            status = "Pending"
        elif status == "Success" and self._rows(job):
            # recorded: bing/generate_report_poll.json: a blob, with its port
            told = recorded("bing/generate_report_poll.json")["ReportRequestStatus"]
            url = told["ReportDownloadUrl"].replace(
                "sig=potato", f"sig={self.jobs.signature(job, now)}"
            )
        found = {"Status": status, "ReportDownloadUrl": url}
        return answer_json(200, {"ReportRequestStatus": found})

    def _download(self, asked: Asked, signature: str, now: float) -> Answer:
        # a shared access signature and an Authorization header together are refused:
        # learn.microsoft.com/en-us/rest/api/storageservices/authorize-requests-to-azure-storage
        assert "authorization" not in asked.headers
        assert asked.host.endswith(".blob.core.windows.net")
        job = self.jobs.signed(signature, now)
        if job is None:
            return answer(403, b"<?xml version='1.0'?><Error>AuthenticationFailed</Error>")
        return answer(200, self._zip(job), content_type="application/zip")

    def _rows(self, job: Job) -> list[Row]:
        days = job.what["Time"]
        return self.rows(
            job.what["Type"],
            job.account,
            _iso(days["CustomDateRangeStart"]),
            _iso(days["CustomDateRangeEnd"]),
        )

    def _zip(self, job: Job) -> bytes:
        out = io.StringIO()
        if not job.what["ExcludeReportHeader"]:
            # recorded: bing/report_file_with_preamble.csv
            out.write('"Report Name: reportd"\r\n"Report Time: 11/15/2025"\r\n')
            out.write('"Time Zone: (GMT+01:00) Amsterdam, Berlin"\r\n"Rows: 5"\r\n\r\n')
        # recorded: bing/ad_performance_report_hourly.csv: everything quoted, percent signs
        writer = csv.writer(out, quoting=csv.QUOTE_ALL)
        columns = job.what["Columns"]
        writer.writerow(columns)
        for row in self._rows(job):
            record = _record(row, job.account)
            writer.writerow([record[name] for name in columns])
        if not job.what["ExcludeReportFooter"]:
            out.write('\r\n"@2025 Microsoft Corporation. All rights reserved. "\r\n')
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(f"{job.number}.csv", out.getvalue().encode("utf-8-sig"))
        return packed.getvalue()

    def slow_down(self, now: float) -> Answer:
        """Say 117 with status 400."""
        del now
        return _fault(400, 117, "CallRateExceeded").answer

    def wanted(self, report: str, account: str, row: Row) -> dict[str, Any]:
        """See `Fake.wanted`."""
        found = {
            "account": account,
            "currency": "CHF",
            "campaign_id": row.campaign_id,
            "campaign_name": row.name,
            "impressions": row.impressions,
            "clicks": row.clicks,
            "ctr": round(100 * row.clicks / row.impressions, 2),
            "spend": row.cost_micros / MICROS,
            "conversions": float(conversions_of(row)),
            "revenue": Decimal(row.clicks) / 4,
        }
        if report == "campaigns":
            more = {"campaign_status": "Active", "campaign_type": "Search & content"}
            return {**found, **more}
        return {
            **found,
            "ad_group_id": f"g{row.campaign_id}",
            "ad_group_name": row.name,
            "ad_id": row.campaign_id,
            "ad_title": row.name,
            "ad_type": "Responsive search ad",
        }


def _listed(asked: Asked) -> Answer:
    if asked.path == "/CustomerManagement/v13/User/Query":
        # .../customer-management-service/getuser: a null id is the token's user
        assert asked.json == {"UserId": None}
        return answer_json(200, {"User": {"Id": 77, "UserName": "me"}})
    wanted = {"Field": "UserId", "Operator": "Equals", "Value": "77"}
    assert asked.json["Predicates"] == [wanted]
    assert asked.json["PageInfo"] == {"Index": 0, "Size": 1000}
    # recorded: bing/accounts_search_for_report.json
    found = []
    for one in KNOWN:
        (account,) = recorded("bing/accounts_search_for_report.json")["Accounts"]
        account |= {"Id": one.account, "CurrencyCode": one.currency, "Name": one.name}
        found.append(account)
    return answer_json(200, {"Accounts": found})


def _iso(day: dict[str, int]) -> str:
    return f"{day['Year']}-{day['Month']:02}-{day['Day']:02}"


def _fault(status: int, code: int, name: str) -> RefusedError:
    # .../guides/operation-error-codes; that REST has them so is not confirmed
    errors = [{"Code": code, "ErrorCode": name, "Message": "refused"}]
    return RefusedError(answer_json(status, {"TrackingId": "t", "OperationErrors": errors}))


def _record(row: Row, account: str) -> dict[str, str]:
    ads = row.campaign_id
    return {
        "TimePeriod": row.date,
        "AccountId": account,
        "CurrencyCode": "CHF",
        "CampaignId": ads,
        "CampaignName": row.name,
        "CampaignStatus": "Active",
        "CampaignType": "Search & content",
        "AdGroupId": f"g{ads}",
        "AdGroupName": row.name,
        "AdId": ads,
        "AdTitle": row.name,
        "AdType": "Responsive search ad",
        "Impressions": str(row.impressions),
        "Clicks": str(row.clicks),
        "Ctr": f"{100 * row.clicks / row.impressions:.2f}%",
        "Spend": f"{row.cost_micros / MICROS:f}",
        "Conversions": str(conversions_of(row)),
        "Revenue": f"{Decimal(row.clicks) / 4}",
    }
