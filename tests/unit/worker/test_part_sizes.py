"""The size of parts that worked: smaller at once, larger again after a while."""

from reportd.worker.part_sizes import DAYS_MOST, PartSizes

DAY = 86400.0


def sizes(known: PartSizes, *days: float) -> list[int | None]:
    return [known.of("stats", "a", day * DAY) for day in days]


def test_nothing_is_known_at_first() -> None:
    """Nor of other accounts and reports."""
    known = PartSizes()
    known.refused("stats", "a", 4, 0.0)

    assert sizes(known, 0) == [4]
    assert known.of("stats", "b", 0.0) is None
    assert known.of("other", "a", 0.0) is None


def test_each_day_twice_as_much_is_tried() -> None:
    """Until all is asked for at once again, and the size forgotten."""
    known = PartSizes()
    known.refused("stats", "a", 7, 0.0)

    assert sizes(known, 0.9, 1, 2, 5) == [7, 14, 28, 224]
    assert 7 * 2**6 > DAYS_MOST
    assert sizes(known, 6, 0) == [None, None]


def test_a_split_day_is_whole_again_after_a_day() -> None:
    """Then two of them, and so on."""
    known = PartSizes()
    known.refused("stats", "a", 0, 0.0)

    assert sizes(known, 0.9, 1, 2, 3) == [0, 1, 2, 4]


def test_what_is_tried_in_vain_is_tried_seldom() -> None:
    """An account that stays large costs a refused call after 1, 2, 4 ... 16 days."""
    known = PartSizes()
    known.refused("stats", "a", 4, 0.0)
    tried = []
    for day in range(1, 100):
        if known.of("stats", "a", day * DAY) != 4:
            tried.append(day)
            known.refused("stats", "a", 4, day * DAY)

    assert tried == [1, 3, 7, 15, 31, 47, 63, 79, 95]


def test_halves_of_one_request_are_one_try() -> None:
    """From 32 days down to 4, the next try is the next day's."""
    known = PartSizes()
    for days in (16, 8, 4):
        known.refused("stats", "a", days, 0.0)

    assert sizes(known, 0.9, 1) == [4, 8]
