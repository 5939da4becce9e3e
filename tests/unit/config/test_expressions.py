"""A JMESPath that is none is told in a line, with its place."""

import jmespath
import pytest
from jmespath.exceptions import JMESPathError

from reportd.config.expressions import unparsed


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("data[", "it ends too early"),
        ("data.", "it ends too early"),
        ("x..y", "'.' at character 3 is out of place"),
        ("code = 5", "'=' at character 6 is out of place; '==' compares"),
        ("a b", "'b' at character 3 is out of place"),
    ],
)
def test_what_is_wrong_is_one_line(expression: str, said: str) -> None:
    """Its library says three, the first of which ends in the middle of a sentence."""
    with pytest.raises(JMESPathError) as raised:
        jmespath.compile(expression)

    assert f"not a JMESPath: {said}" == unparsed(raised.value)
