"""A worker for tests: `fake_worker.py [key=value ...]`; what a request's first step's `do` names, it does."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

OUT = os.dup(1)
os.dup2(2, 1)


def say(text: str) -> None:
    data = text.encode(errors="surrogatepass")
    while data:
        data = data[os.write(OUT, data) :]


def answer(id_: int, outcomes: str, more: str = "") -> None:
    say(f'{{"id": {id_}, "outcomes": [{outcomes}]{more}}}\n')


RETURNED = '{"kind": "returned"}'


def misbehave(do: str, request: dict[str, Any]) -> None:
    if do.startswith("signal "):
        signal.raise_signal(signal.Signals[do.split()[1]])
    elif do == "exit":
        sys.stderr.write("farewell \x1b[31m cruel world\n")
        sys.stderr.flush()
        os._exit(3)
    elif do == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)
    elif do == "flood out":
        while True:
            say("x" * 65536)
    elif do == "flood lines":
        while True:
            say(f'{{"started": {request["id"]}}}\n' * 1000)
    elif do == "flood err":
        while True:
            os.write(2, b"e" * 65536)
    elif do == "garbage":
        say("\x00\x1b[2J garbage\n")
    elif do == "surrogate":
        answer(request["id"], '{"kind": "trapped", "detail": "\\ud800"}')
    elif do == "bytes":
        os.write(OUT, b'{"id": "\xff"}\n')
    elif do == "deep":
        say("[" * 100_000 + "\n")
    elif do == "bomb":
        say("[" + "[]," * 2_000_000 + "[]]\n")
    elif do == "wrong id":
        answer(request["id"] + 1, RETURNED)
    elif do == "too many":
        answer(request["id"], f"{RETURNED}, {RETURNED}")
    elif do == "half":
        say(f'{{"id": {request["id"]}, "outc')
        os._exit(0)
    elif do == "grandchild":
        if os.fork() == 0:
            time.sleep(1000)
        signal.raise_signal(signal.SIGSEGV)
    elif do == "daemon":
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
    elif do == "eat":
        eaten = []
        while True:
            eaten.append(b"x" * (8 << 20))
            time.sleep(0.002)
    elif do == "close":
        os.close(OUT)
        time.sleep(1000)
    elif do == "deaf":
        os.close(0)
        time.sleep(1000)


def main() -> None:
    flags = dict(argument.split("=", 1) for argument in sys.argv[1:])
    time.sleep(float(flags.get("startup", 0)))
    if "killed" in flags:  # by SIGKILL as long as the file is shorter than that
        path, _, times = flags["killed"].rpartition(":")
        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) <= int(times):
            os.kill(os.getpid(), signal.SIGKILL)
    if flags.get("hello") == "silent":
        time.sleep(1000)
    hello = {"protocol": 1, "engine": "fake", "version": "1", "values": "native", "features": ["mvp"]}
    say(flags["hello"] + "\n" if "hello" in flags else json.dumps(hello) + "\n")
    stores: dict[str, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        first = request["steps"][0]["do"] if request["steps"] else ""
        if first == "unmarked hang":
            time.sleep(1000)
        if first == "unmarked exit":
            os._exit(4)
        say(f'{{"started": {request["id"]}}}\n')
        misbehave(first, request)
        if first == "big":
            answer(request["id"], RETURNED, f', "pad": "{"x" * (5 << 20)}"')
            continue
        if first == "slow":
            time.sleep(0.2)
        session = request.get("session")
        detail = str(os.getpid())
        if session:
            stores[session] = stores.get(session, 0) + 1
            detail = str(stores[session])
        outcome = f'{{"kind": "returned", "detail": "{detail}"}}'
        answer(request["id"], ", ".join([outcome] * len(request["steps"])))
        if first == "exit after":
            os._exit(0)


main()
