"""The board: memory that supervisor and children share, one slot a child.

Made by the supervisor before the first fork, as an anonymous shared mapping: what a child wrote
stays readable after its death, whatever killed it. Every cell has one writer (the slot's child;
the supervisor only after that child is dead), so nothing here takes a lock across processes. A
child's threads share one lock of their own.

A slot holds the time of the last heartbeat, the ids of the requests in hand, the reason of a halt,
the newest snapshot and the newest letter: a question of the observer's, or a worker's answer. What
is written goes into one of two buffers and is then switched to, so a writer that dies half way
leaves the one before.
"""

import mmap
import struct
import threading
import zlib

MAX_SNAPSHOT_BYTES = 256 * 1024
MAX_LETTER_BYTES = 64 * 1024
MAX_IN_HAND = 1024
MAX_REASON_BYTES = 2048

_PAGE = mmap.PAGESIZE
_ID_BYTES = 32
_CELL_BYTES = 40  # one byte "taken", seven of padding, the id
_DOUBLE = struct.Struct("<d")
_COUNT = struct.Struct("<Q")
_LENGTH_CRC = struct.Struct("<II")

_BEAT_AT = 0
_SEQUENCE_AT = 8
_LETTERS_AT = 16
_HALT_AT = 64
_REASON_AT = _HALT_AT + 16
_CELLS_AT = _PAGE
_BUFFERS_AT = _CELLS_AT + MAX_IN_HAND * _CELL_BYTES
_LETTER_BUFFERS_AT = _BUFFERS_AT + 2 * (8 + MAX_SNAPSHOT_BYTES)


def _whole_pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


_SLOT_BYTES = _whole_pages(_LETTER_BUFFERS_AT + 2 * (8 + MAX_LETTER_BYTES))


class _Newest:
    """Two buffers and the number of what was written last, which says where it is."""

    def __init__(self, memory: memoryview, number_at: int, buffers_at: int, most: int) -> None:
        self._memory = memory
        self._number_at = number_at
        self._buffers_at = buffers_at
        self._most = most

    def number(self) -> int:
        found: int = _COUNT.unpack_from(self._memory, self._number_at)[0]
        return found

    def write(self, data: bytes) -> int:
        number = self.number() + 1
        at = self._buffers_at + (number % 2) * (8 + self._most)
        self._memory[at : at + 8] = _LENGTH_CRC.pack(len(data), zlib.crc32(data))
        self._memory[at + 8 : at + 8 + len(data)] = data
        self._memory[self._number_at : self._number_at + 8] = _COUNT.pack(number)
        return number

    def read(self) -> tuple[int, bytes]:
        for _ in range(8):  # a writer that wrote twice meanwhile has overwritten our buffer
            number = self.number()
            if number == 0:
                return 0, b""
            found = self._buffer(number % 2)
            if found is not None:
                return number, found
        return 0, b""

    def _buffer(self, which: int) -> bytes | None:
        at = self._buffers_at + which * (8 + self._most)
        length, crc = _LENGTH_CRC.unpack_from(self._memory, at)
        if length > self._most:
            return None
        found = bytes(self._memory[at + 8 : at + 8 + length])
        return found if zlib.crc32(found) == crc else None


class Slot:
    """One child's part of the board. Its child writes, every process of the daemon reads."""

    def __init__(self, memory: memoryview) -> None:
        """Take the slot's part of the mapping."""
        self._memory = memory
        self._snapshots = _Newest(memory, _SEQUENCE_AT, _BUFFERS_AT, MAX_SNAPSHOT_BYTES)
        self._letters = _Newest(memory, _LETTERS_AT, _LETTER_BUFFERS_AT, MAX_LETTER_BYTES)
        self._lock = threading.Lock()
        self._cells: dict[str, int] = {}
        self._free = list(range(MAX_IN_HAND - 1, -1, -1))

    def beat(self, boottime: float) -> None:
        """Say "alive" (seconds of CLOCK_BOOTTIME). Costs well under a microsecond."""
        self._memory[_BEAT_AT : _BEAT_AT + 8] = _DOUBLE.pack(boottime)

    def last_beat(self) -> float | None:
        """Return when the child last beat, or None if it has not yet."""
        beat: float = _DOUBLE.unpack_from(self._memory, _BEAT_AT)[0]
        return beat or None

    def take(self, request: str) -> bool:
        """Note a request's id (at most 32 ASCII characters) as in hand.

        Whatever is in hand when the process dies gets a crash strike. False: the table is full
        and the id was not noted (nothing else is lost by it).
        """
        with self._lock:
            if request in self._cells:
                return True
            if not self._free:
                return False
            cell = self._free.pop()
            self._cells[request] = cell
            at = _CELLS_AT + cell * _CELL_BYTES
            self._memory[at + 8 : at + _CELL_BYTES] = request.encode("ascii").ljust(_ID_BYTES)
            self._memory[at] = 1
            return True

    def release(self, request: str) -> None:
        """Note that a request is no longer in hand; unknown ids are ignored."""
        with self._lock:
            cell = self._cells.pop(request, None)
            if cell is not None:
                self._memory[_CELLS_AT + cell * _CELL_BYTES] = 0
                self._free.append(cell)

    def in_hand(self) -> set[str]:
        """Return the ids in hand, also after the child's death."""
        table = bytes(self._memory[_CELLS_AT:_BUFFERS_AT])
        return {
            table[at + 8 : at + _CELL_BYTES].decode("ascii", "replace").rstrip()
            for at in range(0, len(table), _CELL_BYTES)
            if table[at]
        }

    def publish(self, snapshot: bytes) -> None:
        """Replace the snapshot; raises ValueError beyond `MAX_SNAPSHOT_BYTES`."""
        if len(snapshot) > MAX_SNAPSHOT_BYTES:
            raise ValueError(f"a snapshot of {len(snapshot)} bytes does not fit the board")
        with self._lock:
            self._snapshots.write(snapshot)

    def read(self) -> bytes:
        """Return the newest whole snapshot; empty if there is none."""
        return self._snapshots.read()[1]

    def write_letter(self, letter: bytes) -> int:
        """Replace the letter; return its number. Raises ValueError beyond `MAX_LETTER_BYTES`."""
        if len(letter) > MAX_LETTER_BYTES:
            raise ValueError(f"a letter of {len(letter)} bytes does not fit the board")
        with self._lock:
            return self._letters.write(letter)

    def letter_number(self) -> int:
        """Return the newest letter's number; 0: there is none. Costs well under a microsecond."""
        return self._letters.number()

    def read_letter(self) -> tuple[int, bytes]:
        """Return the newest whole letter and its number; (0, b""): there is none."""
        return self._letters.read()

    def halt(self, status: int, reason: str) -> None:
        """Leave the reason of this child's halt for the supervisor."""
        text = reason.encode(errors="replace")[: MAX_REASON_BYTES - 16]
        self._memory[_REASON_AT : _REASON_AT + len(text)] = text
        self._memory[_HALT_AT : _HALT_AT + 16] = _COUNT.pack(status) + _COUNT.pack(len(text))

    def halted(self) -> tuple[int, str] | None:
        """Return the halt's status and reason, or None."""
        status = _COUNT.unpack_from(self._memory, _HALT_AT)[0]
        length = _COUNT.unpack_from(self._memory, _HALT_AT + 8)[0]
        if not status:
            return None
        return status, bytes(self._memory[_REASON_AT : _REASON_AT + length]).decode(
            errors="replace"
        )

    def clear(self) -> None:
        """Make the slot new for the next child. Only the supervisor, when no child has it.

        Letters are numbered on: a question of the next observer is none that was seen already.
        """
        number = bytes(self._memory[_LETTERS_AT : _LETTERS_AT + 8])
        self._memory[:_PAGE] = bytes(_PAGE)
        self._memory[_LETTERS_AT : _LETTERS_AT + 8] = number
        for cell in range(MAX_IN_HAND):
            self._memory[_CELLS_AT + cell * _CELL_BYTES] = 0
        self._cells.clear()
        self._free = list(range(MAX_IN_HAND - 1, -1, -1))


class Board:
    """All slots. Made once by the supervisor; the mapping costs only the pages that are used."""

    def __init__(self, slots: int) -> None:
        """Map ``slots`` empty slots; it does not grow."""
        self._mapping = mmap.mmap(-1, slots * _SLOT_BYTES)
        memory = memoryview(self._mapping)
        self._slots = [
            Slot(memory[index * _SLOT_BYTES : (index + 1) * _SLOT_BYTES]) for index in range(slots)
        ]

    def __len__(self) -> int:
        """Return the number of slots."""
        return len(self._slots)

    def slot(self, index: int) -> Slot:
        """Return one slot; raises IndexError."""
        return self._slots[index]
