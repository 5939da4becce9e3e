"""A partner as data: its file, the flow of calls, paging, verdicts, parsing."""
