"""What we write for people is well-formed: a broken table is not shown at all."""

import io
from pathlib import Path

import pytest
from docutils.core import publish_doctree

_ROOT = Path(__file__).parents[2]
_TEXTS = sorted([*_ROOT.glob("*.rst"), *(_ROOT / "docs").rglob("*.rst")])


def _complaints(text: str) -> str:
    """Return what docutils says of a text; what it would include or colour is left alone."""
    said = io.StringIO()
    settings = {
        "warning_stream": said,
        "file_insertion_enabled": False,
        "syntax_highlight": "none",
        "_disable_config": True,
    }
    publish_doctree(text, settings_overrides=settings)
    return said.getvalue()


@pytest.mark.parametrize("path", _TEXTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_every_text_is_what_docutils_reads(path: Path) -> None:
    """No malformed table, no unclosed literal, no link to nowhere."""
    assert "" == _complaints(path.read_text(encoding="utf-8"))


def test_a_table_with_text_in_its_margin_is_found() -> None:
    """What stood in docs/partners.rst until somebody looked at the page."""
    assert "Malformed table" in _complaints("==  ==\na   b\ncc c d\n==  ==\n")
