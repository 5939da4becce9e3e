"""Where a request stands in its report: from step to step, item to item, part to part. Pure."""

from collections.abc import Mapping
from typing import Any

from reportd.errors import InvalidMessageError
from reportd.model.request import Request
from reportd.partners.parts import Parts
from reportd.partners.steps import Step, elements_of
from reportd.partners.verdict import Cursor

_OF_A_CALL = ("step", "item", "parts", "since", "kept", "mark")
"""What the pages of one call have in common."""
_OF_A_PART: tuple[str, ...] = ("parts", "kept", "mark")


class StaleCursorError(InvalidMessageError):
    """The cursor does not fit the partner file, or what was picked: the request starts over."""


class Way:
    """One request's way through the steps of its report."""

    def __init__(
        self, steps: tuple[Step, ...], request: Request, values: int, mark: str = ""
    ) -> None:
        """Begin; ``values``: how many parts a single day may be split into.

        ``mark``: stands for all that is asked; other pages and other parts have another one.
        """
        self._steps = steps
        self._request = request
        self._values = values
        self._mark = mark

    def step(self, cursor: Cursor) -> Step:
        """Return the step that a cursor stands at; raises `StaleCursorError`."""
        if cursor.get("mark", self._mark) != self._mark:
            raise StaleCursorError("what the partner file asks for has changed, amid its pages")
        name = cursor.get("step", self._steps[0].name)
        for step in self._steps:
            if step.name == name:
                return step
        raise StaleCursorError("the partner file's steps have changed")

    def parts(self, cursor: Cursor) -> Parts | None:
        """Return what of a split request is to be done; None: it is whole."""
        text = cursor.get("parts")
        try:
            parts = Parts.parse(text) if text else None
        except ValueError as error:
            raise StaleCursorError(str(error)) from None
        if parts is not None and not parts.days and parts.value >= self._values:
            raise StaleCursorError("the partner file's split has changed")
        return parts

    def smaller(self, cursor: Cursor) -> Parts | None:
        """Return smaller parts than a cursor's; None: there are none."""
        request = self._request
        whole = Parts(request.first_day, request.last_day, len(request.days()))
        return (self.parts(cursor) or whole).smaller(self._values)

    def item(self, cursor: Cursor, step: Step, picked: Mapping[str, Any]) -> Any:
        """Return the element of its list that a call is made for; raises `StaleCursorError`."""
        try:
            return elements_of(picked[step.each or ""], step.each or "")[int(cursor.get("item", 0))]
        except (LookupError, ValueError):
            raise StaleCursorError("the list is shorter than it was") from None

    def page(self, cursor: Cursor, following: Cursor) -> Cursor:
        """Return the cursor of a next page; a URL is one whatever the file asks for by then."""
        kept = {key: cursor[key] for key in _OF_A_CALL if key in cursor}
        mark = {} if "url" in following else {"mark": self._mark}
        return {**kept, **mark, **following}

    def after_call(
        self, cursor: Cursor, step: Step, picked: Mapping[str, Any], now_wall: float
    ) -> Cursor | None:
        """Return what follows the last page of a call: the next item, step or part; None: all."""
        if step.each is None:
            return self.after_step(cursor, step, picked, now_wall)
        following = int(cursor.get("item", 0)) + 1
        if following < len(elements_of(picked.get(step.each), step.each)):
            kept = {key: cursor[key] for key in _OF_A_CALL if key in cursor}
            return {**kept, "step": step.name, "item": str(following)}
        return self.after_step(cursor, step, picked, now_wall)

    def after_step(
        self, cursor: Cursor, step: Step, picked: Mapping[str, Any], now_wall: float
    ) -> Cursor | None:
        """Return what follows a step: the next one that has something to do, or the next part."""
        for following in self._steps[step.index + 1 :]:
            if following.each and not elements_of(picked.get(following.each), following.each):
                continue
            kept = {key: cursor[key] for key in _OF_A_PART if key in cursor}
            if following.poll is not None:
                kept["since"] = f"{now_wall:.0f}"
            elif following.picked_url is not None and "since" in cursor:
                kept["since"] = cursor["since"]
            return {**kept, "step": following.name}
        return self.after_part(cursor)

    def after_part(self, cursor: Cursor) -> Cursor | None:
        """Return the next part's first call, None after the last."""
        parts = self.parts(cursor)
        following = parts.following(self._values) if parts else None
        if following is None:
            return None
        mark = {"mark": self._mark} if following.value else {}
        return {"parts": str(following), **mark}
