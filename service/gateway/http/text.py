"""Texts that clients choose and terminals, logs and pages show: labels, ids, groups, names."""

from __future__ import annotations

import unicodedata

# Control characters, surrogates, line and paragraph separators.
_REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Bidirectional embeddings, overrides and isolates: they make a text read as another one.
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def text_problem(value: str) -> str | None:
    """What makes a text unfit to be a label, an id or a name; None where nothing does."""
    for character in value:
        if unicodedata.category(character) in _REFUSED or character in _BIDI:
            return f"holds the control character or line break U+{ord(character):04X}"
    if value != value.strip():
        return "begins or ends with a blank"
    return None
