"""XML from outside: no document type of its own, no entities, nothing fetched; depth and size are bounded.

Names come without their namespace, as the exports of one format differ in it. A file in UTF-16, or in an 8 bit or
East Asian encoding that its first line names, is read as that.
"""

from __future__ import annotations

import codecs
import math
import re
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from ..record import InputError

LONGEST = 2**26  # bytes of a file
DEEPEST = 64  # elements inside each other
MOST = 2**20  # elements and attributes
NATIVE = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso8859-1", "ascii")  # what the parser decodes itself
NUMBER = re.compile(r"[+-]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})([eE][+-]?\d{1,3})?", re.ASCII)
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def root(head: bytes) -> tuple[str, str]:
    """The name of the root element (without namespace) and the text around it, of a file's first bytes.

    ("", "") where they do not begin like XML.
    """
    text = _decoded(head)
    if not text.lstrip().startswith("<"):
        return "", ""
    found = re.search(r"<(?![?!])(?:[\w.-]+:)?([\w.-]+)", re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL))
    return (found[1], text) if found else ("", text)


def is_root(name: str, tag: str) -> bool:
    """Whether the root element `name` is `tag`; letter case, and a package's name before it, do not count."""
    return name.rpartition(".")[2].lower() == tag.lower()


def parse(path: Path, tag: str) -> Element:
    """The root element, which has to be `tag`.

    Raises InputError for XML that is broken, too large or too deep, declares entities, or is of something else.
    """
    with open(path, "rb") as file:
        data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise InputError(f"{path}: more than {LONGEST >> 20} MiB of XML; no ECG is that large")
    try:
        found = _tree(*_encoded(data))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InputError(f"{path}: broken XML ({error}); get the file again") from error
    if not is_root(found.tag, tag):
        raise InputError(f"{path}: its root is {found.tag[:40]!r} and not {tag}; it is something else")
    return found


def text(element: Element | None, path: str = "") -> str:
    """The text of an element, or of the first one at `path` below it; "" where there is none."""
    found = element if element is None or not path else element.find(path)
    return (found.text or "").strip() if found is not None else ""


def number(element: Element | None, path: str = "") -> float | None:
    """The finite number that `text` finds; None where it is none."""
    return to_number(text(element, path))


def to_number(said: str) -> float | None:
    """The finite number that a text is; None where it is none."""
    value = float(said) if NUMBER.fullmatch(said.strip()) else math.inf
    return value if math.isfinite(value) else None


def _tree(data: bytes, encoding: str | None) -> Element:
    parser, builder = expat.ParserCreate(encoding, None), TreeBuilder()
    depth, count = 0, 0

    def start(name: str, attributes: dict) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1 + len(attributes)
        if depth > DEEPEST or count > MOST:
            raise InputError(f"elements {DEEPEST} deep, or more than {MOST} of them; no ECG is that nested")
        builder.start(_local(name), {_local(key): value for key, value in attributes.items()} if attributes else {})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_local(name))

    def refuse(*_) -> None:
        raise InputError("declares entities or a document type of its own, which is never read")

    parser.buffer_text, parser.buffer_size = True, 2**16
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = parser.ExternalEntityRefHandler = parser.UnparsedEntityDeclHandler = refuse
    parser.ElementDeclHandler = parser.AttlistDeclHandler = parser.NotationDeclHandler = refuse
    parser.Parse(data, True)
    return builder.close()


def _local(name: str) -> str:
    return name.rpartition(":")[2] if ":" in name else name


def _encoded(data: bytes) -> tuple[bytes, str | None]:
    """The bytes as the parser can read them, and the encoding to read them in (None: as they say)."""
    if data.startswith(tuple(BOMS)) or b"\0" in data[:4]:
        return data, None
    said = re.match(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]{1,40})", data[:400])
    name = said[1].decode() if said else "utf-8"
    try:
        name = codecs.lookup(name).name
        if name in ("utf-16", "utf-16-le", "utf-16-be"):  # it cannot be: there is no zero byte
            return data, "utf-8"
        return (data, None) if name in NATIVE else (data.decode(name).encode(), "utf-8")
    except (LookupError, UnicodeError) as error:
        raise InputError(f"cannot be decoded as {name} ({error}); get the file again") from error


def _decoded(head: bytes) -> str:
    name = next((name for bom, name in BOMS.items() if head.startswith(bom)), None)
    if name is None and head[:2] in (b"<\0", b"\0<"):
        name = "utf-16-le" if head[0] else "utf-16-be"
    return head.decode(name or "latin-1", errors="ignore")
