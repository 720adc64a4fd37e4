"""What every part of a scenario is made of: closed models, strict numbers, names, amounts.

Numbers are strict: `"3"` and `true` are not 3. A `Named` part may be written as its bare name.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from docendo.errors import UsageError
from docendo.scenarios.amount import parse_amount

__all__ = [
    "BARE_NAMES",
    "Amount",
    "Flag",
    "Name",
    "Named",
    "Number",
    "Probability",
    "Spec",
    "Whole",
    "mistake",
]

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_\-]*$")]
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]
Probability = Annotated[Number, Field(ge=0, le=1)]


def mistake(message: str, suggestion: str = "", key: str | None = None) -> PydanticCustomError:
    """A finished message for the person who wrote the file; `key` is the culprit inside the value."""
    context = {"message": message, "suggestion": suggestion, "key": key}
    return PydanticCustomError("mistake", "{message} {suggestion}", context)


def _possible(value: Any) -> Any:
    if not isinstance(value, int | float | str):
        raise mistake("expected an amount", "Write a count such as `3`, or a share such as `20%`.")
    try:
        parse_amount(value)
    except UsageError as error:
        raise mistake(error.message, error.suggestion) from None
    return value


Amount = Annotated[
    int | float | str,
    BeforeValidator(_possible),
    WithJsonSchema(
        {
            "description": "A count (whole number), or a share of the phase's items such as `20%` or 0.2.",
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "number", "minimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^\s*\d{1,6}(\.\d{1,9})?\s*%\s*$"},
            ],
        }
    ),
]


BARE_NAMES = {"moves": "taxonomy", "exam": "pool"}
"""Key of a part that may be written as a bare name -> what the name stands for; the `kind` for others."""


class Spec(BaseModel):
    """A closed, immutable part of a scenario."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Named(Spec):
    """A part that may be written as its bare name: `notes` for `{kind: notes}`."""

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value
