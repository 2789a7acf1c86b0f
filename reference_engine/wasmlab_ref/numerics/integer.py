"""Integer operations (section "Integer Operations"): iN values are ints from 0 to 2^N - 1."""

from __future__ import annotations

import operator
from collections.abc import Callable

from ..outcome import Trap

Function = Callable[..., int]


def operations(N: int) -> dict[str, Function]:
    """unop, binop, testop and relop of iN, by name.

    With S = 2^(N-1), `(a ^ S) - S` is signed_N(a); comparing `a ^ S` with `b ^ S` compares signed.
    """
    M, S = (1 << N) - 1, 1 << N - 1
    return {
        "clz": lambda a: N - a.bit_length(),
        "ctz": lambda a: (a & -a).bit_length() - 1 if a else N,
        "popcnt": int.bit_count,
        "add": lambda a, b: (a + b) & M,
        "sub": lambda a, b: (a - b) & M,
        "mul": lambda a, b: (a * b) & M,
        "and": operator.and_,
        "or": operator.or_,
        "xor": operator.xor,
        "shl": lambda a, b: (a << b % N) & M,
        "shr_s": lambda a, b: (((a ^ S) - S) >> b % N) & M,
        "shr_u": lambda a, b: a >> b % N,
        "rotl": lambda a, b: ((a << b % N) | (a >> -b % N)) & M,
        "rotr": lambda a, b: ((a >> b % N) | (a << -b % N)) & M,
        "eqz": lambda a: 0 if a else 1,
        "eq": lambda a, b: 1 if a == b else 0,
        "ne": lambda a, b: 1 if a != b else 0,
        "lt_s": lambda a, b: 1 if a ^ S < b ^ S else 0,
        "lt_u": lambda a, b: 1 if a < b else 0,
        "gt_s": lambda a, b: 1 if a ^ S > b ^ S else 0,
        "gt_u": lambda a, b: 1 if a > b else 0,
        "le_s": lambda a, b: 1 if a ^ S <= b ^ S else 0,
        "le_u": lambda a, b: 1 if a <= b else 0,
        "ge_s": lambda a, b: 1 if a ^ S >= b ^ S else 0,
        "ge_u": lambda a, b: 1 if a >= b else 0,
        **{f"extend{K}_s": extend_s(K, N) for K in (8, 16, 32) if K < N},
        **_divisions(N),
    }


def extend_s(K: int, N: int) -> Function:
    """The low K bits, sign-extended to N."""
    low, sign, M = (1 << K) - 1, 1 << K - 1, (1 << N) - 1
    return lambda a: (((a & low) ^ sign) - sign) & M


def _divisions(N: int) -> dict[str, Function]:
    """Quotients round towards zero, unlike Python's; the remainder has the sign of the dividend."""
    M, S = (1 << N) - 1, 1 << N - 1

    def div_s(a: int, b: int) -> int:
        if not b:
            raise Trap("integer divide by zero")
        x, y = (a ^ S) - S, (b ^ S) - S
        if (x < 0) is not (y < 0):
            return -(abs(x) // abs(y)) & M
        if (quotient := x // y) == S:
            raise Trap("integer overflow")
        return quotient

    def div_u(a: int, b: int) -> int:
        if not b:
            raise Trap("integer divide by zero")
        return a // b

    def rem_s(a: int, b: int) -> int:
        if not b:
            raise Trap("integer divide by zero")
        x, y = (a ^ S) - S, abs((b ^ S) - S)
        return -(-x % y) & M if x < 0 else x % y

    def rem_u(a: int, b: int) -> int:
        if not b:
            raise Trap("integer divide by zero")
        return a % b

    return {"div_s": div_s, "div_u": div_u, "rem_s": rem_s, "rem_u": rem_u}


INTEGER: dict[str, Function] = {f"i{N}.{name}": f for N in (32, 64) for name, f in operations(N).items()}
