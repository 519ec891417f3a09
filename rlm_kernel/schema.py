"""
The form that an answer must have: any type that pydantic's `TypeAdapter` takes, or a JSON Schema as a dict.

An object that fits as it is comes back as the very same object. pydantic and jsonschema are imported with the first
schema; the kernel's start does not wait for them.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from typing import Any

from rlm_kernel.errors import SchemaMismatch, UsageError

SHOWN_ERRORS = 10
SHOWN_CHARS = 4_000
_FENCED = re.compile(r"\s*```[\w+-]*\n(.*?)\n?\s*```\s*", re.DOTALL)


class Schema:
    """Raises UsageError where `form` is no form."""

    def __init__(self, form: object) -> None:
        self._check: Callable[[object], object]
        if isinstance(form, dict):
            described: object = form
            self._check = _json_schema(form)
            self.name = "JSON that fits the schema"
        else:
            self._check, described = _type(form)
            self.name = form.__name__ if isinstance(form, type) else str(form).replace("typing.", "")
        text = json.dumps(described, ensure_ascii=False, default=str)
        self.told = f"{self.name}\n\n{text[:SHOWN_CHARS]}" if len(text) > 60 else self.name
        """For the one who answers: the form's name and its JSON Schema."""

    def check(self, value: object) -> object:
        """The value itself where it fits, what it is converted to where it can be, or SchemaMismatch."""
        return self._check(value)

    def read(self, text: str) -> object:
        """The value that a text stands for: the text as it is, or the JSON in it. Raises SchemaMismatch."""
        fenced = _FENCED.fullmatch(text)
        bare = fenced[1] if fenced else text.strip()
        try:
            value = json.loads(bare)
        except (ValueError, RecursionError):
            return self.check(bare)
        try:
            return self.check(value)
        except SchemaMismatch as mismatch:
            try:
                return self.check(bare)  # a text that happens to be JSON: "2024", "null"
            except SchemaMismatch:
                raise mismatch from None


def _type(form: object) -> tuple[Callable[[object], object], object]:
    import pydantic

    kind: Any = form
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pydantic.warnings.ArbitraryTypeWarning)  # "3 is not a Python type"
            adapter: Any = pydantic.TypeAdapter(kind, config=_arbitrary(form))
    except Exception as error:  # pydantic has many ways to say no
        raise UsageError(
            f"schema={form!r} is no type that can be checked ({type(error).__name__}): give a type such as list[str], "
            "a pydantic model, or a JSON Schema as a dict"
        ) from None
    try:
        described = adapter.json_schema()
    except Exception:  # a class without a JSON form, such as a data frame: its name has to do
        described = ""

    def check(value: object) -> object:
        try:
            try:
                made = adapter.validate_python(value, strict=True)
            except pydantic.ValidationError:
                return adapter.validate_python(value)
            return value if _alike(made, value) else made
        except pydantic.ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise SchemaMismatch(_message([(_path(each["loc"]), each["msg"]) for each in found])) from None
        except Exception as error:  # a validator of the person's own
            raise SchemaMismatch(_raised(error)) from None

    return check, described


def _alike(made: object, value: object) -> bool:
    """Nothing was converted, so that the object itself can be handed over and no copy."""
    try:
        return type(made) is type(value) and bool(made == value)
    except Exception:  # arrays and frames do not compare to one truth value
        return made is value


def _arbitrary(form: object) -> Any:
    """Classes that pydantic does not know are checked by isinstance; a model or dataclass brings its own config."""
    own = hasattr(form, "__pydantic_core_schema__") or hasattr(form, "__dataclass_fields__")
    return None if own or _is_typed_dict(form) else {"arbitrary_types_allowed": True}


def _is_typed_dict(form: object) -> bool:
    return isinstance(form, type) and issubclass(form, dict) and hasattr(form, "__total__")


def _json_schema(form: dict[Any, Any]) -> Callable[[object], object]:
    import jsonschema  # type: ignore[import-untyped]

    try:
        kind = jsonschema.validators.validator_for(form, default=jsonschema.Draft202012Validator)
        kind.check_schema(form)
    except jsonschema.SchemaError as error:
        raise UsageError(f"schema is no JSON Schema: {error.message[:300]}") from None
    validator = kind(form)

    def check(value: object) -> object:
        try:
            found = [(_path(error.absolute_path), error.message[:300]) for error in validator.iter_errors(value)]
        except Exception as error:  # a reference that leads nowhere, found when it is followed
            raise SchemaMismatch(_raised(error)) from None
        if found:
            raise SchemaMismatch(_message(found))
        return value

    return check


def _raised(error: Exception) -> str:
    return f"the check of the answer's form raised {type(error).__name__}: {error}"


def _path(parts: Any) -> str:
    return "".join(f"[{part!r}]" for part in parts)


def _message(found: list[tuple[str, str]]) -> str:
    lines = [f"{where or 'the answer'}: {what}" for where, what in found[:SHOWN_ERRORS]]
    if more := len(found) - len(lines):
        lines.append(f"and {more:,} more")
    return "the answer has not the form that was asked for:\n" + "\n".join(lines)
