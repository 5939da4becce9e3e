"""How old an offset is, whose message is forgotten."""

from reportd.worker.stamps import STEP_SECONDS, Stamps


def test_each_offset_has_its_second() -> None:
    """Never later than it was written, at most a second before; what is read again counts once."""
    stamps, written = Stamps(), {7: 1_000.0}
    stamps.note(7, written[7])
    for offset in range(10, 5_000, 3):
        written[offset] = 999.0 + offset / 7
        stamps.note(offset, written[offset])
        stamps.note(offset - 3, written[offset - 3])

    assert stamps.of(6) is None
    assert len(stamps) <= 5_000 / 7
    for offset, at in written.items():
        found = stamps.of(offset)
        assert found is not None
        assert 0 <= at - found < STEP_SECONDS


def test_what_is_over_is_forgotten() -> None:
    """A partition that always has something open does not grow for ever."""
    stamps = Stamps()
    for offset in range(100_000):
        stamps.note(offset, 10.0 * offset)
        assert stamps.of(max(0, offset - 5)) == 10.0 * max(0, offset - 5)

    assert len(stamps) < 2_000
