"""What is wrong with a JMESPath that somebody wrote, in a line: its library draws three."""

from jmespath.exceptions import ArityError, IncompleteExpressionError, JMESPathError, ParseError


def unparsed(error: JMESPathError) -> str:
    """Return why an expression is none, and where."""
    if isinstance(error, ArityError) or not isinstance(error, ParseError):
        return f"not a JMESPath: {error}"
    if isinstance(error, IncompleteExpressionError) or not error.token_value:
        return "not a JMESPath: it ends too early"
    word = str(error.token_value)
    hint = "; '==' compares" if word == "=" else ""
    return f"not a JMESPath: {word!r} at character {error.lex_position + 1} is out of place{hint}"
