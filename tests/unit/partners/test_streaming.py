"""Large answers in pieces: the same rows and the same refusals as in one go."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.errors import UnexpectedAnswerError
from reportd.partners import streaming
from reportd.partners.picking import PickError, compile_pick, rows_path
from reportd.partners.streaming import RowArrays, json_lines
from reportd.partners.unpacking import BrokenAnswerError

ROWS = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab"\\[]{},: ', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["data", "results", "x", 'q"]']), inner, max_size=3)
    ),
    max_leaves=12,
)
EXPRESSIONS = [
    "@",
    "[]",
    "data",
    "data[]",
    "data.results",
    "[].results[]",
    "data[].results[].x",
    "values(@)[]",
    "values(data)[].x",
    "data.*[].x",
    "data || `[]`",
    "data[?x == `1`]",
    "data[*].{y: x}",
    "data[*].results[]",
    "results[?x][]",
]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "PIECE_BYTES", 7)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def streamed(expression: str, data: bytes, size: int = 5) -> list[Any]:
    """Return the rows as `Body` puts them together."""
    found = rows_path(expression)
    assert found is not None
    arrays = RowArrays(found[0])
    rows = [row for piece in arrays.pieces(pieces(data, size)) for row in found[1](piece)]
    rest = picked(expression, arrays.beside())
    if not isinstance(rest, list):
        raise UnexpectedAnswerError("no list")
    return rows + rest


def picked(expression: str, document: Any) -> Any:
    """Return what JMESPath picks of all of it; None too where it does not fit."""
    try:
        return compile_pick(expression)(document)
    except PickError:
        return None


@given(ROWS, st.sampled_from(EXPRESSIONS), st.integers(1, 50), st.booleans())
def test_what_is_picked_in_pieces(document: Any, expression: str, size: int, spaced: bool) -> None:
    """Whatever the document and wherever it is cut: what JMESPath picks from all of it."""
    data = orjson.dumps(document, option=orjson.OPT_INDENT_2 if spaced else None)
    expected = picked(expression, document)
    try:
        found = streamed(expression, data, size)
    except UnexpectedAnswerError:
        assert not isinstance(expected, list)
        return
    assert sorted(map(repr, found)) == sorted(map(repr, expected))


@given(ROWS.map(orjson.dumps), st.data())
def test_what_is_no_json_is_refused(data: bytes, draw: st.DataObject) -> None:
    """One byte more, less or other: refused, unless orjson takes it, too."""
    at = draw.draw(st.integers(0, len(data)))
    kind = draw.draw(st.sampled_from(["", ",", "]", "[", "}", '"', "x", " "])).encode()
    wrong = data[:at] + kind + data[at + draw.draw(st.integers(0, 1)) :]
    try:
        streamed(draw.draw(st.sampled_from(EXPRESSIONS)), wrong)
    except UnexpectedAnswerError:
        return
    orjson.loads(wrong)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_rows_that_are_lists(expression: str) -> None:
    """They are flattened as often as the expression says, and not once more."""
    rows = [[1, [2]], [3], {"x": 1}, {"x": [4, [5]]}, None]
    both = {"data": rows, "results": rows}
    for document in (
        rows,
        both,
        {"data": both},
        {"data": [both, both]},
        [both, rows, {"results": []}],
        {"data": {"results": rows, "x": 1}, "results": None},
    ):
        data = orjson.dumps(document)
        expected = picked(expression, document)
        if isinstance(expected, list):
            assert sorted(map(repr, streamed(expression, data))) == sorted(map(repr, expected))


@pytest.mark.parametrize(
    "expression",
    ["data[0:5]", "sort_by(data, &x)", "[@]", "{a: data}.a", "data[] | [0]", "*.data", "x || data"],
)
def test_what_only_the_whole_document_tells(expression: str) -> None:
    """It is not cut."""
    assert rows_path(expression) is None


def test_batches_of_rows() -> None:
    """Google's stream: its batches are no rows, and an error among them stands beside."""
    batches = [{"results": [{"a": 1}, {"a": 2}], "id": "x"}, {"error": {"code": 8}}, {"id": "y"}]
    arrays = RowArrays(("[]", "results"))

    rows = [row for piece in arrays.pieces([orjson.dumps(batches)]) for row in piece]

    assert rows == [{"a": 1}, {"a": 2}]
    assert arrays.beside() == [{"results": [], "id": "x"}, {"error": {"code": 8}}, {"id": "y"}]


def test_rows_that_are_passed_over() -> None:
    """Who asks for what stands beside them does not pay for them: they are cut, not parsed."""
    data = b'{"data":[{"a":1},{"a":[x]}],"next":7}'

    assert RowArrays(("data",)).skim(pieces(data, 5)) == {"data": [], "next": 7}
    with pytest.raises(UnexpectedAnswerError, match="not JSON"):
        list(RowArrays(("data",)).pieces(pieces(data, 5)))


@pytest.mark.parametrize(
    "text",
    ['{"data":[1],"data":[{"a":2}]}', '{"data":[{"a":1}],"data":null}'],
)
def test_a_key_that_stands_twice(text: str) -> None:
    """The last one counts where all is parsed at once; in pieces nobody can know in time."""
    arrays = RowArrays(("data",))
    list(arrays.pieces([text.encode()]))

    with pytest.raises(UnexpectedAnswerError, match="stands twice"):
        arrays.beside()


@pytest.mark.parametrize("text", ['{"data":[{"a":1},{"a":', '{"data":[{"a":1}]', '[{"a":"', "[[["])
def test_half_a_document_is_asked_for_again(text: str) -> None:
    """It ends within brackets: transient."""
    with pytest.raises(BrokenAnswerError):
        list(RowArrays(("data",)).pieces([text.encode()]))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"data": [' + b"[" * 40 + b"]" * 40 + b"]}", "levels"),
        (b'{"data": [{"a": "' + b"x" * 3000 + b'"}]}', "a record of more than 1000 bytes"),
        (b'{"x": "' + b"x" * 3000 + b'", "data": []}', "a record of more than 1000 bytes"),
        (b'{"x": [' + b"[]," * 1000 + b'[]], "data": []}', "bytes beside the rows"),
        (b"[" * 3000, "too many levels"),
        (b"]", "a bracket too many"),
    ],
)
def test_bounds(data: bytes, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would need more memory than an answer may is refused, and soon."""
    monkeypatch.setattr(streaming, "RECORD_MOST_BYTES", 1000)
    monkeypatch.setattr(streaming, "BESIDE_MOST_BYTES", 1500)

    with pytest.raises(UnexpectedAnswerError, match=why):
        list(RowArrays(("data",)).pieces([data]))


@given(
    st.lists(st.sampled_from(["1", '{"a":"\\n"}', "", " ", "\r", '""']), max_size=9),
    st.integers(1, 9),
)
def test_lines(lines: list[str], size: int) -> None:
    """Cut anywhere, lines are lines; empty ones are none."""
    data = "\n".join(lines).encode()

    found = [one for some in json_lines(pieces(data, size)) for one in some]

    assert found == [orjson.loads(line) for line in lines if line.strip()]


def test_lines_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one it was is said; a last one without its end may be half."""
    with pytest.raises(UnexpectedAnswerError, match="line 3: not JSON"):
        list(json_lines(pieces(b"1\n\n{\n1\n", 2)))
    with pytest.raises(BrokenAnswerError, match="cut short"):
        list(json_lines(pieces(b"1\n\n{", 2)))
    with pytest.raises(UnexpectedAnswerError, match="line 1: not JSON"):
        list(json_lines([b"{"]))
    monkeypatch.setattr(streaming, "RECORD_MOST_BYTES", 10)
    with pytest.raises(UnexpectedAnswerError, match="a line of more than 10 bytes"):
        list(json_lines(pieces(b"1\n" + b"1" * 30, 5)))
