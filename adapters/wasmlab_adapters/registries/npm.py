"""npm: one tarball, by `npm pack`, which holds it against the registry's own digest."""

from __future__ import annotations

import json

from ..errors import EngineUnavailable
from .order import ClientFailed, Order, no_such_version

VERSION = r"[0-9][0-9A-Za-z.+-]*"
PROGRAMS = ("npm",)


def fill(order: Order) -> None:
    """Download the tarball and unpack it; what it depends on and what it would run on installation are left alone."""
    tarball = order.downloaded("*.tgz")
    if tarball is None:
        npm = ["npm", "--loglevel=error", "--fetch-retries=2", "--update-notifier=false", f"--cache={order.part}/npm"]
        wanted = f"{order.name}@{order.version}"
        try:
            order.run([*npm, "pack", "--ignore-scripts", f"--pack-destination={order.part}", wanted])
        except ClientFailed as failed:
            if any(word in failed.words for word in ("ETARGET", "notarget", "E404")):
                raise no_such_version(order, _versions(order, npm)) from None
            raise EngineUnavailable(f"npm cannot get {order.what}: {failed.reason}") from None
        tarballs = list(order.part.glob("*.tgz"))
        if len(tarballs) != 1:
            raise EngineUnavailable(f"npm packed {len(tarballs)} files for {order.what}, not one")
        tarball = order.checked(tarballs[0])
    order.unpack([tarball])


def releases(order: Order) -> list[str]:
    """All versions."""
    return _versions(order, ["npm", "--loglevel=error", "--update-notifier=false", f"--cache={order.part}/npm"])


def _versions(order: Order, npm: list[str]) -> list[str]:
    """The versions, as far as the registry tells them."""
    try:
        found = json.loads(order.run([*npm, "view", order.name, "versions", "--json"]))
    except (ClientFailed, ValueError):
        return []
    return [version for version in found if isinstance(version, str)] if isinstance(found, list) else []
