"""The status page: the screen as one HTML page that asks for itself anew. Pure.

Self-contained: no other resource, one style and one script whose digests the policy names, so
nothing that a partner answered can run or load anything. Without the script it reloads as a whole.
"""

import base64
import hashlib
import html
from collections.abc import Iterable

from reportd.observer.screen import Screen, Table
from reportd.observer.words import cell

REFRESH_SECONDS = 5

_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; }
h1 { font-size: 1.1rem; margin: 0 0 .5rem; }
h1.ill { color: #c00; }
ul { margin: 0 0 1rem; padding-left: 1.2rem; }
li.hint { list-style: none; }
table { border-collapse: collapse; margin: 0 0 1.2rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; border-bottom: 2px solid #8884; }
th, td { padding: .15rem .9rem .15rem 0; vertical-align: top; }
td { border-bottom: 1px solid #8882; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; }
#silent { color: #c00; font-weight: 600; }
"""
_SCRIPT = f"""
const main = document.querySelector("main"), silent = document.querySelector("#silent");
async function again() {{
  try {{
    const answer = await fetch("/", {{cache: "no-store", signal: AbortSignal.timeout(10000)}});
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    main.replaceChildren(...page.querySelector("main").childNodes);
    silent.hidden = true;
  }} catch {{
    silent.hidden = false;
  }}
  setTimeout(again, {REFRESH_SECONDS * 1000});
}}
setTimeout(again, {REFRESH_SECONDS * 1000});
"""


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_digest(_STYLE)}",
        f"script-src {_digest(_SCRIPT)}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The page's Content-Security-Policy."""


def page(found: Screen) -> str:
    """Return the page."""
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<noscript><meta http-equiv="refresh" content="{REFRESH_SECONDS}"></noscript>
<title>{html.escape(found.headline)}</title>
<link rel="icon" href="data:,">
<style>{_STYLE}</style>
</head>
<body>
<p id="silent" hidden>reportd does not answer; this is what it said last.</p>
<main>
{"".join(_main(found))}</main>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _main(found: Screen) -> Iterable[str]:
    ill = "" if found.is_ready else ' class="ill"'
    yield f"<h1{ill}>{html.escape(found.headline)}</h1>\n"
    if found.needed:
        yield "<ul>\n"
        for line in found.needed:
            hint = ' class="hint"' if line.startswith(" ") else ""
            yield f"<li{hint}>{html.escape(line.strip())}</li>\n"
        yield "</ul>\n"
    for table in found.tables:
        yield from _table(table)


def _table(table: Table) -> Iterable[str]:
    numbers = [
        all(isinstance(row[index], int | float | None) for row in table.rows)
        for index in range(len(table.columns))
    ]
    yield "<table>\n<tr>"
    for name, is_number in zip(table.columns, numbers, strict=True):
        yield _cell("th", name, is_number=is_number)
    yield "</tr>\n"
    for row in table.rows:
        yield "<tr>"
        for value, is_number in zip(row, numbers, strict=True):
            yield _cell("td", cell(value), is_number=is_number)
        yield "</tr>\n"
    yield "</table>\n"


def _cell(tag: str, text: str, *, is_number: bool) -> str:
    number = ' class="number"' if is_number else ""
    return f"<{tag}{number}>{html.escape(text)}</{tag}>"
