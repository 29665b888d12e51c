"""What every section of a policy is made of: closed models, and the kinds of text that they share.

Pure. Where a text may be a secret in the wrong place, no message repeats it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, StrictStr
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from gateway.quantities import shown


@dataclass(frozen=True, slots=True)
class Matching:
    """Accepts text that matches `pattern` as a whole; refuses the rest with what it should be."""

    pattern: str
    says: str
    secret: bool = False

    def __get_pydantic_core_schema__(self, source: type[str], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core), "pattern": f"^(?:{self.pattern})$"}

    def _check(self, text: str) -> str:
        if re.fullmatch(self.pattern, text, re.ASCII):
            return text
        raise PydanticCustomError(
            "text", "{problem}", {"problem": f"{'this' if self.secret else shown(text)} is not {self.says}"}
        )


_Text = TypeVar("_Text", bound=str)


def in_order(items: tuple[_Text, ...]) -> tuple[_Text, ...]:
    """One order for one meaning, so that equal profiles have equal digests."""
    return tuple(sorted(set(items)))


_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
MAIL_ADDRESS: Final = r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,8}"
Name = Annotated[StrictStr, Matching(_NAME, "a name (64 letters, digits, - and _ at most)")]
"""What operators call a policy, a profile, a key or a tenant."""
# A token may stand in an address, and in a path of a secret's nothing but the path: no message repeats the first.
Url = Annotated[
    StrictStr,
    Matching(
        r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[!-\"$-~]*)?",
        "an address (write https://host/path, without a user and without #)",
        secret=True,
    ),
]
# What stands in place of a name or a path may be the secret itself.
Variable = Annotated[
    StrictStr,
    Matching(
        r"[A-Za-z_][A-Za-z0-9_]{0,127}",
        "the name of an environment variable (the secret belongs into the variable, not here)",
        secret=True,
    ),
]
File = Annotated[
    StrictStr,
    Matching(
        r"/[^\x00]{1,4095}", "the absolute path of a file (the secret belongs into the file, not here)", secret=True
    ),
]
_Recipient = Annotated[
    StrictStr,
    Matching(f"{_NAME}|{MAIL_ADDRESS}", "the name of a webhook, or a mail address (write ann@example.org)"),
]
Recipients = Annotated[tuple[_Recipient, ...], AfterValidator(in_order)]
"""Who is told: webhooks of the policy, by their names, and mail addresses."""


class Closed(BaseModel):
    """Unknown keys are errors; nothing changes after it was read; errors do not quote what they refuse."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
