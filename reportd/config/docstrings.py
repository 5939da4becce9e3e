"""The strings under a model's fields, read from its source: for pages, samples and schemas alone.

pydantic would read them when the model is imported, in every start of the daemon.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise

from pydantic import BaseModel


def field_texts(model: type[BaseModel]) -> Mapping[str, str]:
    """Return what is said of each field that anything is said of, inherited ones included."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel) and one is not BaseModel:
            found.update(_own_texts(one))
    return found


def _own_texts(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    module = ast.parse(textwrap.dedent(inspect.getsource(model)))
    body = [line for one in module.body if isinstance(one, ast.ClassDef) for line in one.body]
    for field, below in pairwise(body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                yield name, inspect.cleandoc(text)
