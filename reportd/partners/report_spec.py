"""One report of a partner file as data: what is called, how it is paged, what the rows are.

Pure declarations; part of `reportd.partners.spec`.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from reportd.config.base import Section, as_tuple
from reportd.config.problems import FieldProblems, Location, did_you_mean
from reportd.model.base import Name
from reportd.partners.answer_spec import (
    WHOLE_MOST_MIB,
    CsvSpec,
    Format,
    ListsSpec,
    Members,
    Nulls,
    answer_problems,
    rows_in_pieces,
)
from reportd.partners.call_spec import CallSpec
from reportd.partners.fields import Jmes, Jmeses
from reportd.partners.step_spec import SplitSpec, StepSpec, step_problems
from reportd.partners.templates import mentions
from reportd.sinks.columns import Columns, ColumnSpec, column_problems


class ParamSpec(Section):
    """A parameter that requests may give; ``"text"`` is short for its default."""

    default: Annotated[str | None, StringConstraints(max_length=4096)] = None
    """None: every request must give it."""
    one_of: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    """The only values allowed; empty: any."""

    @model_validator(mode="before")
    @classmethod
    def _from_short(cls, data: Any) -> Any:
        return {"default": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.one_of and self.default is not None and self.default not in self.one_of:
            raise FieldProblems({"default": "not among one_of"})
        return self


class ReportSpec(CallSpec):
    """``[reports.NAME]``: what is called, and what the rows are.

    A report of one step has it here (``get``, ``query``, ``json``, ``next`` ...); one of several
    has ``steps``, and ``headers`` here are sent with each of them.
    """

    steps: Annotated[tuple[StepSpec, ...], BeforeValidator(as_tuple)] = ()
    """The steps, in their order, where one call (with its pages) does not do."""
    split: SplitSpec | None = None
    """How a day that is too big for the partner is split; ranges are split by days first."""
    rows_expected: bool = False
    """An answer without any row is no empty result, but unexpected."""
    params: dict[Name, ParamSpec] = {}
    """What requests may give beyond account and days."""
    format: Format = "json"
    """What answers are; gzip and ZIP are recognised by themselves."""
    members: Members = "*"
    """In a ZIP: which of its files are read, in the order of their names; a pattern."""
    encoding: str = "utf-8"
    """The answers' characters; a byte order mark is dropped."""
    csv: CsvSpec = CsvSpec()
    """How CSV is written."""
    rows: Jmes = "@"
    """json: where the list of records is; jsonl: what of a line is the record."""
    unfold: Jmeses = ()
    """json, jsonl: where each of ``rows`` holds the list whose elements are the records (in those,
    the next one's); what a record stands in is its field ``above``."""
    lists: ListsSpec | None = None
    """json: rows are lists of values, not objects: a header and rows, or a list a column."""
    null: Nulls = None
    """Texts that mean "no value" in all columns that do not say others."""
    day_column: str | None = None
    """The column that splits a range into day files; without it a request is one day."""
    columns: Columns
    """The files' columns, in their order: ``name = "type"`` or a table, see ``columns``."""
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """For one call, from connecting to the last byte."""
    max_answer_mib: Annotated[int, Field(ge=1, le=65_536)] = 64
    """The largest answer that is taken, decompressed. JSON whose rows cannot be cut out of it
    (``lists`` by column; ``rows`` that sorts or counts, say) memory has to hold: for that 8 is the
    most, and the default."""
    max_days: Annotated[int, Field(ge=1, le=400)] = 400
    """The longest range a request may ask for."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: dict[Location, str] = {}
        problems.update(step_problems(self.steps) if self.steps else self.call_problems())
        if self.steps:
            for name in ("get", "post", "query", "json_", "form", "next_"):
                if name in self.model_fields_set:
                    problems[name.rstrip("_"),] = "not with steps: it stands in one of them"
        problems.update(self._split_problems())
        problems.update(
            answer_problems(self.format, self.model_fields_set, has_lists=self.lists is not None)
        )
        is_given = "max_answer_mib" in self.model_fields_set
        if self.is_whole and is_given and self.max_answer_mib > WHOLE_MOST_MIB:
            problems["max_answer_mib",] = (
                f"at most {WHOLE_MOST_MIB} where memory has to hold all of an answer: write rows"
                " as a path like data.list, [].results[], values(@)[] or data[?clicks], lists by"
                " row with names outside of the rows, or ask for less at once (max_days, next.size)"
            )
        try:
            "".encode(self.encoding)
        except LookupError:
            problems["encoding",] = "unknown; write one like utf-8, utf-16, windows-1252"
        named = self.format == "csv" or self.lists is not None
        for text in column_problems(self.columns, "csv" if named else "json", self.day_column):
            key, _, what = text.partition(": ")
            problems[tuple(key.split("."))] = what
        problems.update(self._template_problems())
        if problems:
            raise FieldProblems(problems)
        return self

    @property
    def is_whole(self) -> bool:
        """Whether an answer, however large, is parsed at once."""
        return self.format == "json" and rows_in_pieces(self.rows, self.lists) is None

    @property
    def max_answer_bytes(self) -> int:
        """Return how large an answer may be, decompressed."""
        most = min(self.max_answer_mib, WHOLE_MOST_MIB) if self.is_whole else self.max_answer_mib
        return most * 1024 * 1024

    def _split_problems(self) -> Iterator[tuple[Location, str]]:
        if self.split is None:
            return
        name = self.split.param
        declared = self.params.get(name)
        if declared is None:
            hint = did_you_mean(name, self.params)
            yield ("split", "param"), f"{name} is not declared in params; {hint}"
        elif declared.default is None:
            yield ("split", "param"), f"params.{name} has no default: what a whole day sends"
        elif not any(("params", name) in mentions(text) for _, text in self._all_templates()):
            yield ("split", "param"), f"no template uses params.{name}: its parts would be alike"

    def _template_problems(self) -> Iterator[tuple[Location, str]]:
        for key, text in self._all_templates():
            for path in mentions(text):
                if path[0] == "params" and len(path) > 1 and path[1] not in self.params:
                    hint = did_you_mean(path[1], self.params)
                    yield key, f"params.{path[1]} is not declared in params; {hint}"
        for key, text in self.templates():
            if any(path[0] in ("picked", "item") for path in mentions(text)):
                yield key, "only a step knows picked and item"

    def _all_templates(self) -> Iterator[tuple[Location, str]]:
        yield from self.templates()
        for number, step in enumerate(self.steps):
            for key, text in step.templates():
                yield ("steps", number, *key), text

    def typed_columns(self) -> dict[str, ColumnSpec]:
        """Return the columns with what the report says for all of them."""
        if self.null is None:
            return self.columns
        return {
            name: spec if spec.null is not None else spec.model_copy(update={"null": self.null})
            for name, spec in self.columns.items()
        }

    def calls(self) -> Iterator[tuple[Location, CallSpec]]:
        """Yield what is called, with its location: the steps, or the report itself."""
        if not self.steps:
            yield (), self
        for number, step in enumerate(self.steps):
            yield ("steps", number), step
