"""Decisions without I/O: playbooks, guards, clocks, ladders."""

import sys
from types import ModuleType

# `cel` imports its own terminal along (prompt_toolkit, rich, pygments): a tenth of a start and 7 MB in every process.
sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))
