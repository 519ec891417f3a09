"""What became of one state: for the trace, for the checkpoint, and for whoever watches."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    state: str
    agents: tuple[str, ...]
    """The names of its agents, in their order."""
    visit: int
    """1 the first time that the workflow comes to this state."""
    attempts: int
    next: str | None
    """The state that follows; None at an end, and where it failed."""
    error: str | None = None
    """What the last attempt came to, as `Type: message`, where the state failed or was stopped."""
    problems: tuple[str, ...] = ()
    """What the attempts before came to, so that there was another."""
    started_at: float = 0.0
    """Unix time."""
    seconds: float = 0.0
    loaded: tuple[tuple[str, int], ...] = ()
    """
    What agents were given by value: the key and its tokens, in order; "" are the words of the prompt itself.

    What was filled into a sub-agent's question is here; what it is handed by reference is not, and loads nothing.
    """
    typed_tokens: int = 0
    """Of the answers that agents gave as text."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, data: dict[str, Any]) -> Record:
        """Raises ValueError, TypeError, KeyError or AttributeError where it is none."""
        known = {field.name: data[field.name] for field in fields(cls) if field.name in data}
        for name in ("agents", "problems"):
            known[name] = tuple(map(str, known[name]))
        known["loaded"] = tuple((str(key), int(tokens)) for key, tokens in known["loaded"])
        record = cls(**known)
        if not isinstance(record.state, str):
            raise TypeError("a state's name is a string")
        return record
