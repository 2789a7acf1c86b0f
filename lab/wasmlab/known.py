"""Known divergences: which row explains one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from wasmlab_matrices.known import KnownDivergence, load_known
from wasmlab_ref.case import Case
from wasmlab_ref.decode import decode
from wasmlab_ref.outcome import Exhausted, Rejected
from wasmlab_ref.validate import validate

from .signature import Signature
from .wast import module_text


@dataclass(frozen=True, slots=True)
class Known:
    """The rows that a campaign knows of."""

    rows: tuple[KnownDivergence, ...] = ()

    def reason(self, signature: Signature, case: Case, engines: Iterable[Any], large: bool = False) -> str:
        """Reasons and links of the rows that explain what each engine at fault does; "" if one is not explained.

        A `large` case is one that was not reduced: only rows that do not need it count.
        """
        versions = {engine.name: str(getattr(engine, "version", "")) for engine in engines}
        rows = [row for row in self.rows if row.sweeping] if large else self.rows
        found = [_reason(rows, name, alone, case, versions) for name, alone in signature.alone()]
        return "; ".join(dict.fromkeys(found)) if all(found) else ""


def _reason(
    rows: Iterable[KnownDivergence], name: str, signature: Signature, case: Case, versions: Mapping[str, str]
) -> str:
    for row in rows:
        if (
            row.concerns(name, versions.get(name, ""))
            and fnmatchcase(str(signature), row.signature)
            and (not row.modules or re.search(row.modules, account(case)))
        ):
            return f"{row.reason} {row.link}"
    return ""


def known_divergences() -> Known:
    """The rows that wasmlab ships."""
    return Known(load_known())


def account(case: Case) -> str:
    """The modules of a case in the text format, each after what the reference has against it."""
    return "\n".join(f"{_refusal(data)}{module_text(data)}" for data in case.modules)


def _refusal(data: bytes) -> str:
    try:
        validate(decode(data))
    except Rejected as error:
        return f";; {error.stage}: {error}\n"
    except Exhausted:
        pass
    return ""
