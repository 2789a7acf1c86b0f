"""A worker that is a browser: a page with a dedicated Worker, which runs javascript.js, and a WebSocket to here.

    python -m wasmlab_adapters.workers.browser firefox|chromium PACKAGE [key=value ...]

PACKAGE is the unpacked root of a Debian package.  Browsers start themselves again for each page, so they are given
its /usr in place of the machine's, in a namespace of their own, and their profile lies there, too, in memory: with the
last of their processes all of it is gone.  Settings are preferences of Firefox, and switches of V8 in Chromium.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

try:
    from websockets.datastructures import Headers
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection, serve
except ModuleNotFoundError:
    print(json.dumps({"unavailable": "the library websockets is missing", "hint": "pip install 'wasmlab[browsers]'"}))
    sys.exit(3)

HERE = Path(__file__).resolve().parent
PAGE = b"""<!doctype html><meta charset="utf-8"><title>wasmlab</title><script>
const socket = new WebSocket(location.href.replace("http", "ws") + "socket");
socket.onopen = () => {
  const worker = new Worker("javascript.js");
  worker.onmessage = ({ data }) => socket.send(data);
  worker.onerror = () => socket.close();
  socket.onmessage = ({ data }) => worker.postMessage(data);
};
</script>"""
FILES: dict[str, tuple[str, bytes | Path]] = {
    "": ("text/html", PAGE),
    "javascript.js": ("text/javascript", HERE / "javascript.js"),
    "features.tsv": ("text/plain", HERE / "features.tsv"),
}
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
BESIDE = ("bin", "sbin", "lib", "lib64")
CHUNK = 1 << 20
CLONE_NEWNS, CLONE_NEWUSER, MS_BIND, MS_REC, MS_PRIVATE, PR_SET_PDEATHSIG = 0x20000, 0x10000000, 4096, 16384, 1 << 18, 1


@dataclass(frozen=True)
class Browser:
    """What is particular to one: its program within the package, its arguments, and how it takes settings."""

    programs: tuple[str, ...]
    arguments: Callable[[dict[str, str], str], list[str]]
    """From the settings and the folder of the profile."""
    preferences: Callable[[dict[str, str]], str] = lambda settings: ""
    """The profile's user.js."""


QUIET = {
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.cache.disk.enable": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "captivedetect.canonicalURL": "",
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.ipc.processPrelaunch.enabled": False,
    "dom.max_script_run_time": 0,
    "extensions.update.enabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.prefetch-next": False,
    "network.websocket.max-message-size": 2**31 - 1,
    "services.settings.server": "",
    "toolkit.telemetry.enabled": False,
}
"""Firefox neither asks, nor calls anybody, nor stops a script that runs for long."""


def _firefox_preferences(settings: dict[str, str]) -> str:
    chosen: dict[str, object] = {**QUIET, **{f"javascript.options.{key}": value for key, value in settings.items()}}
    words = {"true": True, "false": False}
    lines = {key: words.get(value, value) if isinstance(value, str) else value for key, value in chosen.items()}
    return "".join(f"user_pref({json.dumps(key)}, {json.dumps(value)});\n" for key, value in lines.items())


def _chromium_arguments(settings: dict[str, str], profile: str) -> list[str]:
    written = {"true": "--{}", "false": "--no-{}"}
    flags = ["--expose-gc", *(written.get(value, "--{}={}").format(key, value) for key, value in settings.items())]
    switches = (
        "headless no-sandbox disable-gpu disable-dev-shm-usage disable-background-networking disable-component-update"
        " disable-default-apps disable-extensions disable-hang-monitor disable-sync no-default-browser-check"
        " no-first-run disable-renderer-backgrounding disable-background-timer-throttling no-pings"
    )
    return [
        *(f"--{switch}" for switch in switches.split()),
        f"--user-data-dir={profile}",
        f"--js-flags={','.join(flags)}",
    ]


BROWSERS = {
    "firefox": Browser(
        ("usr/lib/firefox/firefox", "usr/lib/firefox-esr/firefox-esr"),
        lambda settings, profile: ["--headless", "--no-remote", "--profile", profile],
        _firefox_preferences,
    ),
    "chromium": Browser(("usr/lib/chromium/chromium",), _chromium_arguments),
}


class Unavailable(Exception):
    """Why there is no browser here, and what to do about it."""


def within(package: Path) -> None:
    """From now on this process, which has one thread, sees the package's /usr, and a folder in memory: /usr/wasmlab.

    OSError where that is forbidden.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(result: int, what: str) -> None:
        if result:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")

    user, group = os.geteuid(), os.getegid()
    call(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS), "a namespace of its own")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    call(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "private mounts")
    call(libc.mount(os.fsencode(package / "usr"), b"/usr", None, MS_BIND | MS_REC, None), "the package's /usr")
    for name in BESIDE:  # of releases that have these folders beside /usr
        if (package / name).is_dir():
            layers = os.fsencode(f"lowerdir=/usr/{name}:{package / name}")
            call(libc.mount(b"overlay", os.fsencode(f"/usr/{name}"), b"overlay", 0, layers), f"the package's /{name}")
    call(libc.mount(b"tmpfs", b"/usr/wasmlab", b"tmpfs", 0, b"mode=0700"), "a folder in memory")


def start(browser: Browser, package: Path, settings: dict[str, str], url: str) -> int:
    """Start the browser with a page; its process.  It ends with this one."""
    program = next((name for name in browser.programs if (package / name).exists()), None)
    if program is None:
        raise Unavailable(f"{package} has no {' or '.join(browser.programs)}", f"remove {package}, and install again")
    for name in ("wasmlab", *BESIDE):
        (package / "usr" / name).mkdir(exist_ok=True)
    parent, (said, says) = os.getpid(), os.pipe()
    child = os.fork()
    if child:
        os.close(says)
        with os.fdopen(said, "rb") as pipe:  # its end: the browser runs
            if words := pipe.read().decode():
                raise Unavailable(
                    f"a browser cannot be started here: {words}", "it needs namespaces of users (unshare -rm)"
                )
        return child
    try:
        within(package)
        profile = "/usr/wasmlab/profile"
        os.mkdir(profile)
        Path(profile, "user.js").write_text(browser.preferences(settings))
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        env = {**os.environ, "HOME": "/usr/wasmlab", "TMPDIR": "/usr/wasmlab", "MOZ_CRASHREPORTER_DISABLE": "1"}
        arguments = [*browser.arguments(settings, profile), url]
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(2, 1)
        os.chdir("/usr/wasmlab")
        if os.getppid() == parent:
            os.execve(f"/{program}", [f"/{program}", *arguments], env)
    except OSError as error:
        os.write(says, str(error).encode())
    os._exit(3)


class Relay:
    """What goes to and fro between standard input and output and the page, which is at `url` once `server` serves."""

    def __init__(self, answers: int) -> None:
        self.answers = answers
        self.folder = f"/{secrets.token_urlsafe()}/"  # nobody else finds it
        self.child = 0
        self.server = serve(self.talk, "127.0.0.1", 0, process_request=self.file, compression=None, max_size=None)

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://127.0.0.1:{self.server.socket.getsockname()[1]}{self.folder}"

    def file(self, connection: ServerConnection, request: Request) -> Response | None:
        """What the browser asks for; None where it is the WebSocket."""
        name = request.path.removeprefix(self.folder) if request.path.startswith(self.folder) else None
        if name == "socket":
            return None
        type_, content = FILES.get("?" if name is None else name, ("text/plain", b""))
        body = content if isinstance(content, bytes) else content.read_bytes()
        headers = Headers({"Content-Type": type_, "Content-Length": str(len(body)), **ISOLATED})
        return Response(*((200, "OK") if body else (404, "Not Found")), headers, body)

    def talk(self, connection: ServerConnection) -> None:
        """Write what the page says; an empty message is its last."""
        threading.Thread(target=self.send, args=(connection,), daemon=True).start()
        try:
            for message in connection:
                if not message:
                    self.finish(0)
                data = message.encode() if isinstance(message, str) else message
                while data:
                    data = data[os.write(self.answers, data) :]
        except ConnectionClosed:
            pass
        self.finish(1, "the page is gone")

    def send(self, connection: ServerConnection) -> None:
        """Hand over lines as they come, many in a message; an empty message at their end."""
        parts: list[bytes] = []
        while chunk := os.read(0, CHUNK):
            head, end, rest = chunk.rpartition(b"\n")
            if end:
                connection.send(b"".join((*parts, head)).decode(errors="replace"))
                parts = []
            parts.append(rest)
        if last := b"".join(parts):
            connection.send(last.decode(errors="replace"))
        connection.send("")

    def finish(self, status: int, words: str = "") -> NoReturn:
        """End all of it."""
        if words:
            os.write(2, f"{words}\n".encode())
        os.kill(self.child, signal.SIGKILL)
        os._exit(status)


def main() -> None:
    kind, package, *settings = sys.argv[1:]
    answers = os.dup(1)
    os.dup2(2, 1)
    relay = Relay(answers)
    try:
        relay.child = start(BROWSERS[kind], Path(package), dict(text.split("=", 1) for text in settings), relay.url)
    except Unavailable as error:
        what, hint = error.args
        os.write(answers, json.dumps({"unavailable": what, "hint": hint}).encode() + b"\n")
        sys.exit(3)
    threading.Thread(target=relay.server.serve_forever, daemon=True).start()
    _, status = os.waitpid(relay.child, 0)
    os.write(2, f"the browser ended with status {os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(1)


if __name__ == "__main__":
    main()
