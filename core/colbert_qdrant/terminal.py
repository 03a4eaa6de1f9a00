"""What may be shown in a terminal: text from outside that can't steer it."""

from __future__ import annotations

import re

# C0 and C1 controls, DEL, lone surrogates, and the bidirectional embeddings, overrides and isolates, by which a text
# shows in another order than it is in. https://trojansource.codes
_STEERING = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, *, keep_lines: bool = False) -> str:
    """Keep a text from steering the terminal; the number of characters stays.

    Parameters
    ----------
    text
        From a document, a file's name, a server's answer, an argument.
    keep_lines
        Leave line breaks and tabs; else they are blanks, as all other white space is.
    """
    kept = "\n\t" if keep_lines else ""
    blank = "".join(letter if letter in kept or not letter.isspace() else " " for letter in text)
    return _STEERING.sub("\ufffd", blank)
