"""A thread that computes activations before they are needed, in bounded memory."""

import threading
from collections import deque
from collections.abc import Generator, Iterator

from torch import Tensor

from crosscoder.core.types import Acts


class Prefetcher:
    """Runs a generator of activations [n, d_total] in a thread.

    Args:
        blocks: The generator. It may return the number of tokens that it has yielded.
        max_rows: The thread waits while this many rows are ready.

    Attributes:
        n_tokens: What the generator has returned; None while it runs.
    """

    def __init__(self, blocks: Generator[Acts, None, int] | Iterator[Acts], max_rows: int) -> None:
        self.n_tokens: int | None = None
        self._max_rows = max_rows
        self._n_rows = 0  # rows in `_blocks`
        self._blocks: deque[Tensor] = deque()
        self._error: BaseException | None = None
        self._is_closed = False
        self._has_ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, args=(blocks,), daemon=True)
        self._thread.start()

    def fill(self, rows: Tensor, slots: Tensor) -> int:
        """Copy the next activations into these slots of `rows`.

        Returns:
            How many slots were filled: fewer than asked for if the generator has ended.
        """
        n_filled = 0
        while n_filled < len(slots):
            block = self._take(len(slots) - n_filled)
            if block is None:
                break
            rows[slots[n_filled : n_filled + len(block)]] = block
            n_filled += len(block)
        return n_filled

    def ends_before(self, number: int) -> bool:
        """Wait for the next block; tell whether the text ended before so many tokens."""
        with self._changed:
            self._wait_for_block()
            return self._has_ended and not self._blocks and (self.n_tokens or 0) < number

    def close(self) -> None:
        """End the thread once the generator has yielded its current block."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _wait_for_block(self) -> None:
        self._changed.wait_for(lambda: self._blocks or self._error or self._has_ended)

    def _take(self, max_rows: int) -> Tensor | None:
        """Take the next block, or its first rows; None if the generator has ended."""
        with self._changed:
            self._wait_for_block()
            if not self._blocks and self._error:
                raise self._error
            if not self._blocks:
                return None
            block = self._blocks.popleft()
            if len(block) > max_rows:
                self._blocks.appendleft(block[max_rows:])
                block = block[:max_rows]
            self._n_rows -= len(block)
            self._changed.notify()
            return block

    def _run(self, blocks: Generator[Acts, None, int] | Iterator[Acts]) -> None:
        try:
            while True:
                try:
                    block = next(blocks)
                except StopIteration as end:
                    self._end(end.value)
                    return
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed or self._n_rows < self._max_rows)
                    if self._is_closed:
                        return
                    self._blocks.append(block)
                    self._n_rows += len(block)
                    self._changed.notify()
        except BaseException as error:  # it is raised in the thread that waits for activations
            with self._changed:
                self._error = error
                self._changed.notify()

    def _end(self, n_tokens: int | None) -> None:
        with self._changed:
            self.n_tokens = n_tokens
            self._has_ended = True
            self._changed.notify()
