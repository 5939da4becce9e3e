"""Write what follows from the parsers of ``reportctl``: ``python -m reportd.cli.render [ROOT]``.

``docs/reportctl.rst`` and the completion that the Debian package installs; a test says when they
are not current.
"""

import sys
from pathlib import Path

from reportd.cli.parsers import completion, page
from reportd.cli.reportctl import STATUSES, parser


def rendered() -> dict[Path, str]:
    """Return the files, by their path in the repository."""
    root = parser()
    return {
        Path("docs/reportctl.rst"): page(root, STATUSES),
        Path("packaging/completions/reportctl"): completion(root),
    }


def main(root: Path) -> None:
    """Write the files below the repository's root."""
    for path, text in rendered().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2])
