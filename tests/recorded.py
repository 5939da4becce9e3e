"""The recorded answers that become rows: partner, report, file, first and last day."""

CASES = [
    ("google_ads", "ads", "search_stream_zero_rows.json", "2025-11-20", "2025-11-21"),
    ("google_ads", "customers", "search_stream_customer_client.json", "2025-11-21", ""),
    ("meta", "insights", "ads_insights_action_product_id.json", "2023-06-01", ""),
    ("tiktok", "hourly", "advertisers_reports_hourly.json", "2024-01-01", "2024-01-02"),
    ("linkedin", "campaigns", "ad_campaign_analytics_response_1.json",
     "2023-01-01", "2023-01-03"),
    ("bing", "keywords", "report_file_with_preamble.csv", "2020-02-08", ""),
    ("bing", "accounts", "account_performance.csv", "2023-11-08", ""),
    ("bing", "ads_hourly", "ad_performance_report_hourly.csv", "2023-11-11", "2023-11-12"),
]  # fmt: skip
