"""Texts become typed columns, strictly: what does not convert is named, never guessed.

Used by `reportd.sinks.records` and `reportd.sinks.delimited`. Vectorised; only when something is
wrong is the row looked for.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from reportd.errors import UnexpectedAnswerError
from reportd.sinks.columns import ColumnSpec
from reportd.sinks.schema import arrow_type

_TRUE = ("true", "1", "yes")
_FALSE = ("false", "0", "no")
_GROUPS = r"^[+-]?(\d{1,3}(SEP\d{2,3})*SEP\d{3}|\d+)(POINT\d*)?$"
_EPOCHS = {"epoch": "s", "epoch_ms": "ms"}
_A_SECOND = {"s": 1, "ms": 1000}
_YEARS = (-62_135_596_800, 253_402_300_799)
"""The first and the last second that a calendar has, as the epoch's."""
_DIGITS = 38
_NO_TEXT = pa.scalar(None, pa.string())
_US = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def from_text(
    texts: pa.ChunkedArray, name: str, spec: ColumnSpec, account_zone: str
) -> pa.ChunkedArray:
    """Return the column as declared; raises `UnexpectedAnswerError` with column and row."""
    if spec.null_markers:
        unset = pc.is_in(texts, value_set=text_set(spec.null_markers))
        texts = pc.if_else(unset, _NO_TEXT, texts)
    if spec.kind == "string":
        return texts

    def convert(part: pa.ChunkedArray) -> pa.ChunkedArray:
        return _CONVERTERS[spec.kind](pc.utf8_trim_whitespace(part), spec, account_zone)

    try:
        return convert(texts)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise _problem(texts, name, spec, convert) from error


@lru_cache(maxsize=1024)
def text_set(texts: tuple[str, ...]) -> pa.Array:
    """Return texts for ``is_in``; always with the type, which takes Arrow long to find out."""
    return pa.array(texts, pa.string())


def bad_value(name: str, row: int, value: object, spec: ColumnSpec) -> UnexpectedAnswerError:
    """Return the error about one value; ``row`` counts from 0, people count from 1."""
    shown = repr(value if not isinstance(value, str) else value[:80])[:80]
    what = spec.type or spec.kind
    return UnexpectedAnswerError(f"column {name}, row {row + 1}: {shown} is not {what}")


def _problem(
    texts: pa.ChunkedArray,
    name: str,
    spec: ColumnSpec,
    convert: Callable[[pa.ChunkedArray], pa.ChunkedArray],
) -> UnexpectedAnswerError:
    """Find the first row that does not convert, by halving."""
    low, high = 0, len(texts)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(texts.slice(low, middle - low))
            low = middle
        except (pa.ArrowException, ValueError, OverflowError):
            high = middle
    return bad_value(name, low, texts[low].as_py(), spec)


def _plain_number(texts: pa.ChunkedArray, spec: ColumnSpec) -> pa.ChunkedArray:
    """Drop the percent sign and the thousands separators, and write the point as a point."""
    if spec.percent:
        texts = pc.replace_substring_regex(texts, r"\s*%$", "")
    if spec.thousands is not None:
        pattern = _GROUPS.replace("SEP", rf"\x{{{ord(spec.thousands):x}}}")
        pattern = pattern.replace("POINT", rf"\x{{{ord(spec.decimal_point):x}}}")
        if not _all(pc.match_substring_regex(texts, pattern)):
            raise ValueError("thousands")
        texts = pc.replace_substring(texts, spec.thousands, "")
    if spec.decimal_point != ".":
        if _any(pc.match_substring(texts, ".")):
            raise ValueError("decimal point")
        texts = pc.replace_substring(texts, spec.decimal_point, ".")
    return texts


def _int64(texts: pa.ChunkedArray, spec: ColumnSpec, _zone: str) -> pa.ChunkedArray:
    texts = _plain_number(texts, spec)
    if _any(pc.match_substring_regex(texts, "[xX]")):
        raise ValueError("hexadecimal")
    return pc.cast(texts, pa.int64())


def _float64(texts: pa.ChunkedArray, spec: ColumnSpec, _zone: str) -> pa.ChunkedArray:
    return finite(pc.cast(_plain_number(texts, spec), pa.float64()))


def finite(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the numbers; raises ValueError when one of them is no number or infinite."""
    if not _all(pc.is_finite(numbers)):
        raise ValueError("not finite")
    return numbers


def _decimal(texts: pa.ChunkedArray, spec: ColumnSpec, _zone: str) -> pa.ChunkedArray:
    texts = _plain_number(texts, spec)
    return _rounded(texts, spec) if spec.round else decimals(texts, spec)


def decimals(numbers: pa.ChunkedArray, spec: ColumnSpec) -> pa.ChunkedArray:
    """Convert texts or int64 at the scale that dividing leaves, then move the point: exact.

    Raises `pyarrow.ArrowInvalid` when a number has more digits or places than declared.
    """
    moved = _moved(spec)
    wanted = pa.decimal128(_DIGITS, max(spec.precision_scale[1] - moved, 0))
    return pc.cast(_move_point(pc.cast(numbers, wanted), moved), arrow_type(spec))


def divided_from_whole(spec: ColumnSpec) -> bool:
    """Say whether a decimal's declared places all come from its division: it is read as int64."""
    return spec.kind == "decimal" and spec.precision_scale[1] <= _moved(spec)


def _moved(spec: ColumnSpec) -> int:
    return 0 if spec.divide is None else len(str(spec.divide)) - 1


def _rounded(texts: pa.ChunkedArray, spec: ColumnSpec) -> pa.ChunkedArray:
    """Parse with as many places as fit, round half to even."""
    precision, scale = spec.precision_scale
    moved = _moved(spec)
    places = max(_DIGITS - (precision - scale) - moved - 1, scale)
    # more digits than a decimal128 holds are a double's noise: cut them before parsing
    texts = pc.replace_substring_regex(texts, rf"^([+-]?\d*\.\d{{{places}}})\d+$", r"\1")
    if _any(pc.match_substring_regex(texts, "[eE]")):
        texts = _without_exponent(texts, places)
    numbers = _move_point(pc.cast(texts, pa.decimal128(_DIGITS, places)), moved)
    rounded = pc.round(numbers, ndigits=scale, round_mode="half_to_even")
    return pc.cast(rounded, arrow_type(spec))


def _without_exponent(texts: pa.ChunkedArray, places: int) -> pa.ChunkedArray:
    """Write 1.5e-7 as 0.00000015; for the few that have an exponent, by hand."""
    plain = [None if text is None else _plain(text, places) for text in texts.to_pylist()]
    return pa.chunked_array([pa.array(plain, pa.string())])


def _plain(text: str, places: int) -> str:
    if "e" not in text and "E" not in text:
        return text
    number = pc.cast(pa.scalar(text, pa.string()), pa.decimal256(76, min(places, 38) + 20))
    return f"{number.as_py():.{places}f}"


def _move_point(numbers: pa.ChunkedArray, places: int) -> pa.ChunkedArray:
    """Divide decimals by 10^places: the same digits under another scale, nothing computed."""
    if places == 0:
        return numbers
    wanted = pa.decimal128(_DIGITS, numbers.type.scale + places)
    chunks = [
        pa.Array.from_buffers(wanted, len(chunk), chunk.buffers(), offset=chunk.offset)
        for chunk in numbers.chunks
    ]
    return pa.chunked_array(chunks, wanted)


def _bool(texts: pa.ChunkedArray, _spec: ColumnSpec, _zone: str) -> pa.ChunkedArray:
    lower = pc.utf8_lower(texts)
    yes = pc.is_in(lower, value_set=text_set(_TRUE))
    known = pc.or_(yes, pc.is_in(lower, value_set=text_set(_FALSE)))
    if not _all(pc.or_(known, pc.is_null(texts))):
        raise ValueError("neither true nor false")
    return pc.if_else(pc.is_null(texts), pa.scalar(None, pa.bool_()), yes)


def _date(texts: pa.ChunkedArray, spec: ColumnSpec, zone: str) -> pa.ChunkedArray:
    if spec.format is None:
        return pc.cast(texts, pa.date32())
    if spec.format in _EPOCHS:
        return pc.cast(pc.cast(_timestamp(texts, spec, zone), pa.timestamp("us")), pa.date32())
    form = spec.format

    def parse(text: str) -> date:
        return datetime.strptime(text, form).date()  # noqa: DTZ007 (its day as it is written)

    return _by_value(texts, parse, pa.date32())


def _timestamp(texts: pa.ChunkedArray, spec: ColumnSpec, zone: str) -> pa.ChunkedArray:
    wanted = arrow_type(spec)
    unit = _EPOCHS.get(spec.format or "")
    if unit is not None:
        numbers = pc.cast(texts, pa.int64())
        least, most = pc.min_max(numbers).as_py().values()
        if least is not None and not all(_is_of_our_time(one, unit) for one in (least, most)):
            raise ValueError("milliseconds taken for seconds, say")
        return pc.cast(pc.cast(numbers, pa.timestamp(unit, "UTC")), wanted)
    local = zone if spec.zone == "account" else spec.zone
    if spec.format is not None:
        form, tz = spec.format, None if local is None else ZoneInfo(local)

        def parse(text: str) -> int:
            found = datetime.strptime(text, form)  # noqa: DTZ007 (given its zone below)
            if found.tzinfo is None:
                if tz is None:
                    raise ValueError("no zone")
                found = found.replace(tzinfo=tz)
            return (found - _EPOCH) // _US

        return pc.cast(_by_value(texts, parse, pa.int64()), wanted)
    if local is not None:
        try:
            naive = pc.cast(texts, pa.timestamp("us"))
        except pa.ArrowInvalid:
            return pc.cast(texts, wanted)  # they carry a zone of their own
        # an hour that comes twice, or never, must not stop a report
        return pc.cast(
            pc.assume_timezone(naive, local, ambiguous="earliest", nonexistent="latest"), wanted
        )
    return pc.cast(texts, wanted)


def _is_of_our_time(number: int, unit: str) -> bool:
    """Say whether it is within the years that calendars have: 1 to 9999."""
    return _YEARS[0] <= number // _A_SECOND[unit] <= _YEARS[1]


def _by_value(
    texts: pa.ChunkedArray, parse: Callable[[str], object], wanted: pa.DataType
) -> pa.ChunkedArray:
    """Parse every distinct text once: a day stands in many rows."""
    distinct = pc.unique(texts)
    values = [None if text is None else parse(text) for text in distinct.to_pylist()]
    places = pc.index_in(texts, value_set=distinct)
    return pa.chunked_array([pc.take(pa.array(values, wanted), places.combine_chunks())])


def _json(texts: pa.ChunkedArray, _spec: ColumnSpec, _zone: str) -> pa.ChunkedArray:
    for text in texts.to_pylist():
        if text is not None:
            orjson.loads(text)
    # within JSON's own texts none stands as it is; between them it would break a JSON line
    return pc.replace_substring_regex(texts, "[\r\n]", " ")


def _all(flags: pa.ChunkedArray) -> bool:
    return bool(pc.all(flags, min_count=0).as_py())


def _any(flags: pa.ChunkedArray) -> bool:
    return bool(pc.any(flags, min_count=0).as_py())


_CONVERTERS: dict[str, Callable[[pa.ChunkedArray, ColumnSpec, str], pa.ChunkedArray]] = {
    "int64": _int64,
    "float64": _float64,
    "decimal": _decimal,
    "bool": _bool,
    "date": _date,
    "timestamp": _timestamp,
    "json": _json,
}
