"""The command line. Nothing heavy is loaded before a command needs it."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of the signal."""


def main() -> None:
    """Run ``colbert-qdrant`` with the arguments of this process."""
    try:
        from colbert_qdrant.cli.commands import commands
        from colbert_qdrant.cli.terminal import print_traceback
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if library not in ("click", "rich"):
            raise
        from colbert_qdrant.errors import MissingExtra

        missing = MissingExtra(f'{library} is not installed: pip install "colbert-qdrant[cli]"')
        sys.exit(f"Error: the command line can't start, {missing}")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows "?" for what it lacks
    sys.excepthook = print_traceback
    try:
        commands(prog_name="colbert-qdrant")
    except SystemExit as done:
        if done.code == INTERRUPTED:
            # All is closed; a usual exit would wait, for seconds, until the encoder's thread is through its texts.
            sys.stdout.flush()
            os._exit(INTERRUPTED)
        raise
