"""Where a file goes: the path template of ``[output] path``.

A final name depends on partner, report, account, day and parameters alone, never on the run.
Different values never meet: see `encode` and `PathTemplate.problems`. Pure; any process.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from string import ascii_letters, digits

DEFAULT_PATH = "{partner}/{report}/date={date}/{account}.{ext}"
MAX_COMPONENT_BYTES = 200

_TOKEN = re.compile(r"\{([^{}]*)\}")
_LITERAL = re.compile(r"^[A-Za-z0-9=._+-]*$")
_PARAM = re.compile(r"^params\.([a-z][a-z0-9_]{0,63})$")
_DATES = ("date", "year", "month", "day")
_NAMES = ("partner", "report", "account", *_DATES)
_EXT = ".{ext}"
_SEPARATORS = "=._+-"
_HARMLESS = re.compile(r"[A-Za-z0-9-][A-Za-z0-9._-]*")
_PLAIN = frozenset((ascii_letters + digits + "-_.").encode())


def encode(value: str, reserved: frozenset[int] = frozenset()) -> str:
    """Percent-encode a value so that it is one harmless path component, or a part of one.

    Injective: every byte but letters, digits and ``-_.`` becomes ``%XX``; so do ``reserved``
    ones and a leading ``.`` or ``_`` (hidden from query engines). Nothing becomes ``%``.
    """
    if not value:
        return "%"
    if not reserved and _HARMLESS.fullmatch(value):
        return value  # as nearly all are
    plain = _PLAIN - reserved
    data = value.encode("utf-8", "surrogatepass")
    text = "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in data)
    return f"%{data[0]:02X}{text[1:]}" if text[0] in "._" else text


def _shorten(text: str, limit: int) -> str:
    """Cut to ``limit`` bytes with a hash of the whole; ``~`` stands in no encoded value."""
    if len(text) <= limit:
        return text
    tail = "~" + hashlib.sha256(text.encode()).hexdigest()[:40]
    head = text[: limit - len(tail)]
    cut = head.rfind("%", -2)
    return (head if cut < 0 else head[:cut]) + tail


@dataclass(frozen=True, slots=True)
class _Component:
    """One part of the template between slashes; ``pieces`` alternate literal and field."""

    pieces: tuple[str, ...]
    fields: tuple[tuple[str, str], ...]
    """Each with the literal behind it."""
    ends_with_ext: bool
    reserved: frozenset[int]


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A parsed template; parsing never fails, `problems` says what is wrong with it."""

    text: str = DEFAULT_PATH
    _components: tuple[_Component, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Split the text once."""
        components = tuple(_parse(part) for part in self.text.split("/"))
        object.__setattr__(self, "_components", components)

    @property
    def fields(self) -> tuple[str, ...]:
        """Return every field that the template names, in order."""
        return tuple(name for part in self._components for name in part.pieces[1::2])

    def problems(self, params: Iterable[str] = ()) -> list[str]:
        """Return all that is wrong, for a report that declares ``params``."""
        found = [*self._field_problems(set(params))]
        for number, part in enumerate(self.text.split("/"), 1):
            found += [f"part {number}: {what}" for what in _component_problems(part)]
        if not self.text.endswith(_EXT) or self.text.count("{ext}") != 1:
            found.append("must end with .{ext}, and have it once")
        if len(self.text) > 1000:
            found.append("longer than 1000 characters")
        return found

    def _field_problems(self, params: set[str]) -> list[str]:
        fields = set(self.fields) - {"ext"}
        named = {match[1] for name in fields if (match := _PARAM.match(name))}
        unknown = sorted(name for name in fields - set(_NAMES) if not _PARAM.match(name))
        found = [f"{{{name[:64]}}}: unknown field" for name in unknown]
        missing = [name for name in ("partner", "report", "account") if name not in fields]
        missing += [f"params.{name}" for name in sorted(params - named)]
        found += [
            f"{{{name}}} is missing: files of different {name}s would meet" for name in missing
        ]
        if "date" not in fields and not {"year", "month", "day"} <= fields:
            found.append("{date} (or {year}, {month} and {day}) is missing: days would meet")
        return found

    def render(
        self,
        partner: str,
        report: str,
        account: str,
        day: date,
        params: Mapping[str, str],
        ext: str,
    ) -> str:
        """Return the path relative to the root; a parameter that is not given is empty."""
        iso = day.isoformat()
        dates = {"date": iso, "year": iso[:4], "month": iso[5:7], "day": iso[8:]}
        values = {"partner": partner, "report": report, "account": account}
        parts = []
        for part in self._components:
            stem = part.pieces[0]
            for name, literal in part.fields:
                text = dates.get(name)
                if text is None:
                    value = values.get(name)
                    if value is None:
                        value = params.get(name.partition(".")[2], "")
                    text = encode(value, part.reserved)
                stem += text + literal
            tail = f".{ext}" if part.ends_with_ext else ""
            parts.append(_shorten(stem, MAX_COMPONENT_BYTES - len(tail)) + tail)
        return "/".join(parts)


def _parse(part: str) -> _Component:
    """Split one component; what separates two fields is reserved: no value may hold it."""
    ends = part.endswith(_EXT)
    pieces = tuple(_TOKEN.split(part.removesuffix(_EXT)))
    between = set("".join(pieces[2:-1:2])) & set(_SEPARATORS)
    fields = tuple(zip(pieces[1::2], pieces[2::2], strict=True))
    return _Component(pieces, fields, ends, frozenset("".join(between).encode()))


def _component_problems(part: str) -> list[str]:
    stem = part.removesuffix(_EXT)
    pieces = _TOKEN.split(stem)
    literals = pieces[0::2]
    found = []
    if not part:
        return ["empty (the path is relative and has no //)"]
    if part[0] in "._":
        found.append("starts with . or _, which query engines skip")
    if not stem:
        found.append("nothing before .{ext}")
    if not all(_LITERAL.match(text) for text in literals):
        found.append("literal text has more than letters, digits and =._+-")
    if len("".join(literals)) > 60:
        found.append("more than 60 characters of literal text")
    for index in range(2, len(pieces) - 1, 2):
        neighbours = (pieces[index - 1], pieces[index + 1])
        fixed = all(name in _DATES for name in neighbours)
        separates = any(text in _SEPARATORS for text in pieces[index])
        if not fixed and not separates:
            found.append(f"{{{neighbours[0]}}} and {{{neighbours[1]}}} need = . _ + or - between")
    return found
