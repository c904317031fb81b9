"""Damaged and hostile files for every reader: python tests/fuzz.py --count 200000 --to benchmarks/results/fuzz.json

Small valid files of each format (`made_NAME.variants`) are mutated: bits, cuts, blocks, numbers, lengths, XML entities,
nesting, names of other files. Each is read in a child process that may open no file outside of its folder, no socket
and no program, has 1 GiB more memory than it starts with, and 10 s for a file (of 1 MB at most). Only a Record or
an InputError may come out. What a C library opens by itself is not seen. Case N of a seed is always the same:
--only NAME:N reads it once more and keeps it.
"""

from __future__ import annotations

import argparse
import importlib
import io
import itertools
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas

from ecgraft import formats, plugs
from ecgraft.record import InputError, Record

MEMORY = 2**30  # bytes that a child may take beside what it starts with
SECONDS = 10  # for one file
LARGEST = 1_000_000  # bytes of a file
BATCH = 2000  # cases of a child
OPTIONS = {"rate": 250.0, "unit": "mV", "patient_key": "0123456789abcdef0123456789abcdef"}
NUMBER = re.compile(rb"\d[\d.]*")
NUMBERS = (b"0", b"-1", b"1", b"99999999999", b"2147483647", b"4294967296", b"1e308", b"nan", b"inf", b"0.0000001", b"")
PATHS = (
    b"/etc/passwd",
    b"../../../etc/passwd",
    b"C:\\boot.ini",
    b"~",
    b"http://127.0.0.1:9/x",
    b"a/../b",
    b".",
    b"%s%n",
)
BOMB = b'<!DOCTYPE a [<!ENTITY a "' + b"x" * 500 + b'"><!ENTITY b "' + b"&a;" * 500 + b'"><!ENTITY c "' + b"&b;" * 500
BOMBS = (
    BOMB + b'">]>',
    b'<!DOCTYPE a [<!ENTITY c SYSTEM "file:///etc/passwd">]>',
    b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">',
    b'<!DOCTYPE a [<!ENTITY % c SYSTEM "file:///etc/passwd"> %c;]>',
)


@dataclass
class Seed:
    """One valid record: its files by name, the one to read first."""

    main: str
    files: dict[str, bytes]


@dataclass
class Tally:
    cases: int = 0
    read: int = 0
    refused: int = 0
    slowest: float = 0.0  # s
    failures: list[str] = field(default_factory=list)
    warned: Counter = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.cases, self.read, self.refused = (
            self.cases + other.cases,
            self.read + other.read,
            self.refused + other.refused,
        )
        self.slowest = max(self.slowest, other.slowest)
        self.failures += other.failures
        self.warned += other.warned


def seeds(name: str, folder: Path) -> list[Seed]:
    """The valid files of a format."""
    module, found = plugs.find("formats", name), []
    for path in importlib.import_module(f"made_{name}").variants(folder):
        parts = module.parts(path) if hasattr(module, "parts") else []
        files = {p.name: p.read_bytes() for p in (path, *parts) if p.is_file()}
        found.append(Seed(path.name, files))
    return found


def mutate(rng: random.Random, given: list[Seed]) -> tuple[str, dict[str, bytes]]:
    """The files of a damaged record."""
    seed = rng.choice(given)
    files = dict(seed.files)
    name = seed.main if rng.random() < 0.7 else rng.choice(list(files))
    data = files[name]
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data = rng.choice(KINDS)(rng, data, given)
    files[name] = data[:LARGEST]
    if len(files) > 1 and rng.random() < 0.02:
        del files[rng.choice([other for other in files if other != seed.main] or [name])]
    return seed.main, files


def _at(rng: random.Random, data: bytes) -> int:
    """A place; headers are hit more often."""
    size = max(len(data), 1)
    return rng.randrange(min(size, rng.choice((64, 512, 4096, size))))


def bits(rng, data, _):
    out = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 2, 8))):
        out[_at(rng, out)] ^= 1 << rng.randrange(8)
    return bytes(out)


def cut(rng, data, _):
    return data[: rng.randrange(len(data) + 1)]


def word(rng, data, _):
    """A field of 1 to 8 bytes becomes an extreme value, as lengths and counts are."""
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice(
        (0, 1, 2, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1, rng.getrandbits(8 * size))
    )
    at = _at(rng, data)
    return data[:at] + (value % 2 ** (8 * size)).to_bytes(size, rng.choice(("little", "big"))) + data[at + size :]


def block(rng, data, _):
    """A block is taken out, doubled, moved, repeated often, or zeroed."""
    a, size = _at(rng, data), rng.choice((1, 4, 16, 256, 4096))
    part, b = data[a : a + size], _at(rng, data)
    kind = rng.randrange(5)
    if kind == 0:
        return data[:a] + data[a + size :]
    if kind == 1:
        return data[:a] + part + data[a:]
    if kind == 2:
        return data[:b] + part + data[b:]
    if kind == 3:
        return data[:a] + part * rng.choice((10, 10, 100, 1000 if rng.random() < 0.1 else 100)) + data[a:]
    return data[:a] + bytes(len(part)) + data[a + size :]


def number(rng, data, _):
    """A number in text becomes another one."""
    found = list(itertools.islice(NUMBER.finditer(data), rng.choice((10, 100, 2000))))
    if not found:
        return bits(rng, data, _)
    a, b = rng.choice(found).span()
    return data[:a] + rng.choice(NUMBERS) + data[b:]


def splice(rng, data, given):
    """The beginning of one file and the end of another."""
    other = rng.choice(rng.choice(given).files.copy().popitem()[1:])
    return data[: _at(rng, data)] + other[_at(rng, other) :]


def xml(rng, data, _):
    """Entities, nesting and long names for what reads XML; for others it is another block of text."""
    a = data.find(b">", _at(rng, data)) + 1
    kind = rng.randrange(5)
    if kind == 0:
        return data[: max(a, 0)] + rng.choice(BOMBS) + b"<a>&c;</a>" + data[a:]
    if kind == 1:
        first = data.find(b"?>") + 2 if data.startswith(b"<?xml") else 0
        return data[:first] + rng.choice(BOMBS) + data[first:].replace(b">", b">&c;", 3)
    if kind == 2:
        return data[:a] + b"<a>" * (70 if rng.random() < 0.9 else 300_000) + data[a:]
    if kind == 3:
        return data[:a] + b"<" + b"a" * (1000 if rng.random() < 0.9 else 900_000) + b">" + data[a:]
    return data[:a] + b"<![CDATA[" + b"]" * 1000 + data[a:]


def paths(rng, data, _):
    """A word with a point in it, or any other, becomes the name of another file."""
    words = data.split(b" ") if data.count(b" ") < 5000 else [data]
    at = [i for i, w in enumerate(words) if b"." in w] or range(len(words))
    words[rng.choice(list(at))] = rng.choice(PATHS)
    return b" ".join(words)


def grow(rng, data, _):
    """As large as a file may be here, by repeating its end."""
    if rng.random() > 0.02 or not data:
        return word(rng, data, _)
    tail = data[_at(rng, data) :] or data
    return (data + tail * (LARGEST // len(tail) + 1))[:LARGEST]


KINDS = (bits, bits, cut, word, word, word, block, block, number, number, splice, xml, paths, grow)


class Guard:
    """Notes whatever a reader opens outside of the folder, once it is on."""

    def __init__(self, folder: Path):
        self.folder, self.on, self.seen = os.path.realpath(folder), False, []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple) -> None:
        if not self.on:
            return
        if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(args[0]))
            code = path.startswith(tuple(map(os.path.realpath, (sys.prefix, sys.base_prefix, np.__path__[0]))))
            if not path.startswith(self.folder) and not code and "ecgraft" not in path:
                self.seen.append(f"opened {path}")
        elif event in ("socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
            self.seen.append(event)


def run(name: str, numbers: range, seed: int, place: str, tally: Tally) -> None:
    """Reads the cases in this process."""
    folder = Path(place)
    with tempfile.TemporaryDirectory() as made:
        given = seeds(name, Path(made))
    pandas.read_csv(io.StringIO("1\n2\n"))  # what it opens when it is first used is no reader's
    guard = Guard(folder)
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, category, *rest: tally.warned.update(
        [f"{category.__name__}: {message}"[:100]]
    )
    for one in given:
        tally.failures += _case(name, one.main, one.files, folder, Tally(), guard)[:1]  # whole files, and all imports
    _limit()
    guard.on = True
    for n in numbers:
        (folder / ".case").write_text(str(n))
        rng = random.Random(f"{seed}:{name}:{n}")
        main, files = mutate(rng, given)
        tally.failures += [f"case {n}: {what}" for what in _case(name, main, files, folder, tally, guard, rng.random())]


def _case(name, main, files, folder: Path, tally: Tally, guard: Guard, how: float = 1.0) -> list[str]:
    """Reads one record; what must not have happened."""
    for old in folder.iterdir():
        if old.name != ".case":
            old.unlink()
    for file, data in files.items():
        (folder / file).write_bytes(data)
    guard.seen.clear()
    options = OPTIONS | ({"median": True} if 0.2 < how < 0.3 else {}) | ({"index": 0} if 0.3 < how < 0.4 else {})
    found, start = [], time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        record = formats.read(folder / main, format=None if how < 0.1 else name, **options)
        tally.read += 1
        found += [] if isinstance(record, Record) else [f"returned {type(record).__name__}"]
    except InputError as error:
        tally.refused += 1
        causes = [error]
        while causes[-1].__cause__ or causes[-1].__context__:
            causes.append(causes[-1].__cause__ or causes[-1].__context__)
        found += [f"ran out of memory: {str(error)[:200]}" for cause in causes if isinstance(cause, MemoryError)]
        found += [f"ran out of time: {str(error)[:200]}" for cause in causes if isinstance(cause, TimeoutError)]
    except BaseException as error:
        found.append(f"{type(error).__name__}: {str(error)[:200]}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    tally.slowest = max(tally.slowest, time.perf_counter() - start)
    tally.cases += 1
    return found + guard.seen


def _limit() -> None:
    """From here on 1 GiB more of memory; a file that takes too long is stopped."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, resource.RLIM_INFINITY))

    def stop(*_):
        raise TimeoutError(f"longer than {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)


def child(name: str, numbers: range, seed: int) -> Tally:
    """Cases in a process of their own: a crash is a failure, and what comes after it is read by a further one."""
    total, at = Tally(), numbers.start
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    while at < numbers.stop:
        with tempfile.TemporaryDirectory(dir=shared) as place:
            ours, theirs = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.get_context("fork").Process(
                target=_send, args=(theirs, name, range(at, numbers.stop), seed, place)
            )
            process.start()
            theirs.close()
            try:
                total.add(ours.recv())
                at = numbers.stop
            except EOFError:
                process.join()
                last = int((Path(place) / ".case").read_text() or at)
                total.failures.append(f"case {last}: the process ended with {process.exitcode}")
                total.cases += last + 1 - at
                at = last + 1
            process.join()
    return total


def _send(pipe, name, numbers, seed, place) -> None:
    tally = Tally()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what C libraries print
    run(name, numbers, seed, place, tally)
    pipe.send(tally)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--format", action="append", help="format (default: all)")
    parser.add_argument("--count", type=int, default=200_000, help="inputs for each format")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--to", type=Path, help="file for the counts (JSON); formats that have theirs are not repeated")
    parser.add_argument("--only", help="FORMAT:CASE, to read one again; its files are kept in the folder fuzz-case")
    options = parser.parse_args()
    if options.only:
        return only(*options.only.split(":"), options.seed)
    known = json.loads(options.to.read_text()) if options.to and options.to.exists() else {}
    failed = 0
    for name in options.format or plugs.names("formats"):
        if known.get(name, {}).get("inputs", 0) >= options.count and known[name]["seed"] == options.seed:
            continue
        total, start = Tally(), time.perf_counter()
        parts = [range(a, min(a + BATCH, options.count)) for a in range(0, options.count, BATCH)]
        with multiprocessing.pool.ThreadPool(options.jobs) as pool:
            for tally in pool.imap_unordered(lambda part, name=name: child(name, part, options.seed), parts):
                total.add(tally)
                if sys.stderr.isatty():
                    print(f"\r{name}: {total.cases:,} of {options.count:,}", end="", file=sys.stderr)
        took = time.perf_counter() - start
        print(f"{name}: {total.cases:,} inputs, {total.read:,} read, {total.refused:,} refused, ", end="")
        print(f"{len(total.failures)} failures, slowest {total.slowest:.2f} s, {took:.0f} s in all", flush=True)
        for what in total.failures[:20]:
            print(f"  {what}")
        for what, count in total.warned.most_common(5):
            print(f"  {count} x {what}")
        failed += len(total.failures)
        known[name] = {"inputs": total.cases, "seed": options.seed, "read": total.read, "refused": total.refused}
        known[name] |= {"failures": len(total.failures), "slowest_s": round(total.slowest, 2)}
        if options.to:
            options.to.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    return failed > 0


def only(name: str, number: str, seed: int) -> int:
    place = Path("fuzz-case")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    tally = Tally()
    run(name, range(int(number), int(number) + 1), seed, str(place), tally)
    print(tally)
    return len(tally.failures) > 0


if __name__ == "__main__":
    import multiprocessing.pool

    sys.exit(main())
