"""JMESPath and its short cut."""

from typing import Any

import jmespath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportd.partners.picking import PickError, compile_pick

KEYS = st.sampled_from(["a", "b", "c"])
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=20,
)
PLAIN = st.lists(KEYS | st.just("[]"), min_size=1, max_size=5).map(
    lambda parts: parts[0] + "".join(p if p == "[]" else f".{p}" for p in parts[1:])
)


@given(DOCUMENTS, PLAIN)
def test_the_short_cut_finds_what_jmespath_finds(document: Any, path: str) -> None:
    """Plain paths mean exactly what they mean in JMESPath."""
    assert compile_pick(path)(document) == jmespath.search(path, document)


@given(DOCUMENTS)
def test_whole_document(document: Any) -> None:
    """``@`` is the document itself."""
    assert compile_pick("@")(document) == document


def test_functions_and_comparisons_go_to_jmespath() -> None:
    """Everything JMESPath can do is there."""
    assert compile_pick("code == `40100`")({"code": 40100}) is True
    assert compile_pick("max(values(@)[].wait)")({"x": [{"wait": 3}, {"wait": 5}]}) == 5


def test_an_expression_that_does_not_fit_is_a_pick_error() -> None:
    """A function that is handed the wrong type is no crash."""
    with pytest.raises(PickError):
        compile_pick("contains(message, 'x')")({"message": None})


def test_a_text_in_the_wrong_quotes_is_said() -> None:
    """It would be compared with a field of that name: a report is never done."""
    with pytest.raises(ValueError, match="for the text write 'done'"):
        compile_pick('data.status == "done"')

    assert compile_pick("""x == '"a" == "b"'""")({"x": '"a" == "b"'}) is True


@pytest.mark.parametrize("text", ["a[", "a b", "nope(@)", "", "a..b"])
def test_what_is_no_expression(text: str) -> None:
    """Mistakes are found when the file is loaded, unknown functions included."""
    with pytest.raises(ValueError, match="JMESPath"):
        compile_pick(text)
