"""What a user can set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """How cases are drawn.  Chances are in percent; ValueError for what is out of range.

    functions       at most so many functions in a module, not counting accessors
    instructions    about so many instructions in a module
    dense           chance that a module consists of dense code, many trees over few values, and is larger
    expression      at most so many instructions in one expression
    executed        about so many instructions run at most in one case
    modules         at most so many modules in a case
    linked          chance of more than one module
    swarm           chance that a case uses a subset of the features and groups of instructions rather than all
    traps           chance that an operand which can make an instruction trap is left unguarded; ten times that, that a
                    module has a function which ends in a trap; three times that, that a linked one fails to start
    dead            chance of unreachable code behind an unconditional branch
    private         chance that a memory, global or table is not exported but read by an accessor function
    log             chance that a module uses the host: its functions, and what "spectest" exports
    calls           invocations of each exported function, at most
    repeat          repetitions of one invocation, at most
    nan             "canonical": NaNs with bits the standard leaves open are made canonical before they can be seen;
                    "raw": left alone
    relaxed         "deterministic-inputs": relaxed vector instructions only see operands on which all permitted
                    behaviours agree; "raw": any
    """

    functions: int = 5
    instructions: int = 70
    dense: int = 20
    expression: int = 12
    executed: int = 20_000
    modules: int = 3
    linked: int = 25
    swarm: int = 85
    traps: int = 4
    dead: int = 8
    private: int = 50
    log: int = 20
    calls: int = 2
    repeat: int = 30
    nan: str = "canonical"
    relaxed: str = "deterministic-inputs"

    def __post_init__(self) -> None:
        for name in ("functions", "instructions", "expression", "executed", "modules", "calls", "repeat"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("dense", "linked", "swarm", "traps", "dead", "private", "log"):
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"{name} is a percentage, not {getattr(self, name)}")
        if self.nan not in ("canonical", "raw"):
            raise ValueError(f"nan must be canonical or raw, not {self.nan!r}")
        if self.relaxed not in ("deterministic-inputs", "raw"):
            raise ValueError(f"relaxed must be deterministic-inputs or raw, not {self.relaxed!r}")
