"""The secret under which patients become hashes: a file of one's own, made where it is not there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from rich.console import Console

from ..record import InputError, UsageError

SHORTEST, LONGEST = 16, 4096  # bytes


def secret(path: Path, store: Path, console: Console) -> bytes:
    """What is in the file, without blanks around it. UsageError for one that would travel with the store."""
    if path.resolve().is_relative_to(store.resolve()):
        raise UsageError(f"--patient-key {path}: keep the key outside of the store, which it would travel with")
    if not path.exists():
        _make(path)
        console.print(f"{path}: a new key for patients. Keep it: only with it further files of theirs will match")
    try:
        with open(path, "rb") as file:
            key = file.read(LONGEST + 1).strip()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if not SHORTEST <= len(key) <= LONGEST:
        raise UsageError(f"--patient-key {path}: {len(key)} bytes; a key has {SHORTEST} to {LONGEST}")
    return key


def _make(path: Path) -> None:
    """32 random bytes in hexadecimal, that only their owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32) + "\n")
