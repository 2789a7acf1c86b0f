"""Tests of the lab run against engines inside this process (`zoo.py`), with bugs planted."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
