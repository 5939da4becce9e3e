"""Imports every module of reportd; ends with 1 if one needs what the package does not have.

``packaging/environment`` runs it in the environment that it has just stripped. Modules that only
the enqueuer and its PySpark need are left out.
"""

import importlib
import pkgutil
import sys

import reportd


def main() -> int:
    """Import them all; say which ones fail."""
    failed = 0
    for module in pkgutil.walk_packages(reportd.__path__, "reportd.", onerror=lambda _name: None):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in {"pyspark", "py4j"}:
                continue
            print(f"{module.name}: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
