"""XML from outside: what is read, and what is refused before it does harm."""

from __future__ import annotations

import codecs

import pytest

from ecgraft.formats import _xml
from ecgraft.record import InputError

BOMB = "".join(f'<!ENTITY {b} "{f"&{a};" * 50}">' for a, b in zip("abcdefgh", "bcdefghi"))


def parse(folder, text: str | bytes, encoding: str = "utf-8"):
    path = folder / "x.xml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return _xml.parse(path, "a")


@pytest.mark.parametrize(
    ("said", "bom", "encoding"),
    [
        ("utf-8", b"", "utf-8"),
        ("utf-8", codecs.BOM_UTF8, "utf-8"),
        ("utf-16", codecs.BOM_UTF16_LE, "utf-16-le"),
        ("utf-16", codecs.BOM_UTF16_BE, "utf-16-be"),
        ("utf-16", b"", "utf-8"),  # it says so and is not
        ("iso-8859-1", b"", "latin-1"),
        ("windows-1252", b"", "cp1252"),
        ("gb2312", b"", "gb2312"),
    ],
)
def test_encodings(tmp_path, said, bom, encoding):
    word = "中文" if encoding == "gb2312" else "Größe"
    whole = bom + f'<?xml version="1.0" encoding="{said}"?>\n<n:a xmlns:n="urn:x" n:k="1">{word}</n:a>'.encode(encoding)
    root = parse(tmp_path, whole)
    assert (root.tag, root.text, root.get("k")) == ("a", word, "1") and _xml.root(whole)[0] == "a"


def test_a_document_type_is_not_fetched_and_one_with_declarations_refused(tmp_path):
    assert parse(tmp_path, '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a>1</a>').text == "1"
    outside = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>'
    for text in (outside, f'<!DOCTYPE a [<!ENTITY a "x">{BOMB}]><a>&i;</a>', "<!DOCTYPE a [<!ELEMENT a ANY>]><a/>"):
        with pytest.raises(InputError, match=r"x\.xml: declares entities or a document type of its own"):
            parse(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "broken XML"),
        ("<a><b></a>", "broken XML"),
        ("<a>&x;</a>", "broken XML"),
        ("<a>" * 100 + "</a>" * 100, "64 deep"),
        ("<a>" + "<b/>" * (_xml.MOST + 1) + "</a>", "no ECG is that nested"),
        ('<?xml version="1.0" encoding="klingon"?><a/>', "cannot be decoded as klingon"),
    ],
    ids=["empty", "tags", "entity", "deep", "many", "encoding"],
)
def test_what_is_broken_or_too_much(tmp_path, text, match):
    with pytest.raises(InputError, match=match) as error:
        parse(tmp_path, text)
    assert str(error.value).count("x.xml") == 1


def test_numbers_are_finite_and_found_in_linear_time():
    assert [_xml.to_number(text) for text in ("5", " -2.5 ", ".5e1", "1.", "007")] == [5, -2.5, 5, 1, 7]
    for text in ("", "1e999", "nan", "inf", "0x10", "1,5", "1 2", "٣", "1" * 1_000_000 + "x", "1" * 1_000_000):
        assert _xml.to_number(text) is None
