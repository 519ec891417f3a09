"""A foreign object's own text, within a time that somebody will wait."""

from __future__ import annotations

import contextvars
import threading

REPR_WITHIN_S = 1.0


def repr_within(value: object, seconds: float = REPR_WITHIN_S) -> str:
    """
    `repr(value)`; raises what it raises, and TimeoutError where it takes longer than `seconds`.

    It runs in a thread of its own, because nothing else can be left behind when it does not come back.
    """
    answer: list[str] = []
    failure: list[BaseException] = []
    done = threading.Event()

    def ask() -> None:
        try:
            answer.append(repr(value))
        except BaseException as error:
            failure.append(error)
        done.set()

    threading.Thread(target=contextvars.copy_context().run, args=(ask,), name="rlm-repr", daemon=True).start()
    if not done.wait(seconds):
        raise TimeoutError(f"took more than {seconds:g} s")
    if failure:
        raise failure[0]
    return answer[0]
