"""Values as people read them: bits are exact, and say little."""

from __future__ import annotations

import struct

from wasmlab_ref.case import WIDTHS, parse_value
from wasmlab_ref.text.numbers import FORMATS, float_text

_REFERENCES = {
    "ref.null": "a null reference", "ref.func": "a function", "ref.struct": "a structure", "ref.exn": "an exception",
    "ref.any": "a reference",
}  # fmt: skip


def meaning(text: str) -> str:
    """What a value is: "-2147483648", "nan:0x200000", "4 lanes i32: …"; "" where the text says it all."""
    try:
        type_, bits = parse_value(text)
    except ValueError:
        return ""
    match type_:
        case "i32" | "i64":
            return _integer(bits, WIDTHS[type_])
        case "f32" | "f64":
            return _float(type_, bits)
        case "v128":
            return "i32 lanes " + " ".join(f"{bits >> 32 * i & 0xFFFFFFFF:x}" for i in range(4))
        case "ref.i31":
            return f"the scalar {_integer(bits, 31)}"
        case "ref.array":
            return f"an array of {bits}"
        case "ref.same":
            return f"the same object as value {bits + 1}"
        case "ref.extern":
            return f"the host's reference {bits}"
    return _REFERENCES.get(type_, "")


def _integer(bits: int, width: int) -> str:
    return f"{bits} or {bits - (1 << width)}" if bits >> (width - 1) else str(bits)


def _float(type_: str, bits: int) -> str:
    form = FORMATS[type_]
    exact = float_text(bits, form)
    magnitude = bits & ~(1 << (form.width - 1))
    if magnitude > form.infinity:
        quiet = 1 << (form.precision - 2)
        kind = "canonical" if magnitude == form.infinity | quiet else "" if magnitude & quiet else "signalling"
        return f"{exact} ({kind})" if kind else exact
    if magnitude == form.infinity:
        return exact
    (number,) = struct.unpack("<f" if type_ == "f32" else "<d", bits.to_bytes(form.width // 8, "little"))
    return f"{number!r} = {exact}" if magnitude else exact.split("0x")[0] + "0.0"
