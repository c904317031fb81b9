"""An encoder of WAV files, chunk by chunk: the oracle of the reader."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

STEP = 0.001  # mV
GUID = bytes.fromhex("000000001000800000aa00389b71")


def chunk(name: bytes, data: bytes, size: int | None = None, order: str = "<") -> bytes:
    return name + struct.pack(f"{order}I", len(data) if size is None else size) + data + b"\0" * (len(data) % 2)


def shape(kind: int, leads: int, rate: int, bits: int, *, extensible=False, stored=None, order="<") -> bytes:
    """What a chunk "fmt " says; stored: bits that a sample takes."""
    size = (stored or -(-bits // 8) * 8) // 8
    rest = leads, rate, rate * leads * size, leads * size
    if not extensible:
        return struct.pack(f"{order}HHIIHH", kind, *rest, bits)
    head = struct.pack(f"{order}HHIIHHHHI", EXTENSIBLE, *rest, size * 8, 22, bits, 0)
    return head + struct.pack(f"{order}H", kind) + GUID


EXTENSIBLE = 0xFFFE


def samples(x: np.ndarray, kind: int, bits: int, order="<") -> bytes:
    """(C, T) numbers -> bytes, one number after the other."""
    if kind == 3:
        return b"".join(struct.pack(f"{order}{'f' if bits == 32 else 'd'}", v) for v in x.T.ravel())
    if bits == 8:
        return bytes(int(v) + 128 for v in x.T.ravel())
    way = "little" if order == "<" else "big"
    return b"".join(int(v).to_bytes(bits // 8, way, signed=True) for v in x.T.ravel())


def riff(path, *chunks: bytes, magic=b"RIFF", size: int | None = None) -> Path:
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".wav")
    body = b"WAVE" + b"".join(chunks)
    order = ">" if magic == b"RIFX" else "<"
    path.write_bytes(magic + struct.pack(f"{order}I", len(body) if size is None else size) + body)
    return path


def save(path, signal, rate: float, leads, *, bits: int = 64, kind: int = 3, **more) -> Path:
    """By default in floating point, the numbers being mV."""
    x = np.round(np.asarray(signal) / STEP) * STEP  # (C, T)
    x = x if kind == 3 else np.round(x)
    head = chunk(b"fmt ", shape(kind, len(x), int(rate), bits, **more))
    return riff(path, head, chunk(b"data", samples(x, kind, bits)))


def variants(folder) -> list[Path]:
    """Small files that take every branch of the reader."""
    folder, at = Path(folder), np.arange(200)
    x = np.round(100 * np.stack([np.exp(-(((at % 60 - 30) / 3.0) ** 2)), -0.2 * np.sin(at / 9)]))[:1]
    info, data = chunk(b"LIST", b"INFOINAM\x05\0\0\0Smith\0"), samples(x, 1, 16)
    pcm = chunk(b"fmt ", shape(1, 1, 250, 16))
    long = struct.pack("<QQQI", 0, len(data), 200, 0)
    huge = 0xFFFFFFFF
    return [
        save(folder / "f64.wav", x, 250, ("I",)),
        save(folder / "f32.wav", x, 250, ("I",), bits=32),
        save(folder / "u8.wav", x, 250, ("I",), bits=8, kind=1),
        save(folder / "i16.wav", x, 250, ("I",), bits=16, kind=1),
        save(folder / "i24.wav", x, 250, ("I",), bits=24, kind=1),
        save(folder / "i32.wav", x, 250, ("I",), bits=32, kind=1, extensible=True),
        riff(
            folder / "valid.wav", chunk(b"fmt ", shape(1, 1, 250, 12, extensible=True, stored=16)), chunk(b"data", data)
        ),
        riff(folder / "order.wav", info, chunk(b"data", data), info, pcm),
        riff(folder / "stream.wav", pcm, info, chunk(b"data", data, 0), size=0),
        riff(folder / "endless.wav", pcm, chunk(b"data", data, huge), size=huge),
        riff(folder / "cut.wav", pcm, chunk(b"data", data[:-51], 400)),
        riff(
            folder / "long.wav", chunk(b"ds64", long), pcm, chunk(b"data", data, huge), info, magic=b"RF64", size=huge
        ),
        riff(
            folder / "big.wav",
            chunk(b"fmt ", shape(1, 1, 250, 24, order=">"), order=">"),
            chunk(b"data", samples(x, 1, 24, ">"), order=">"),
            magic=b"RIFX",
        ),
        riff(
            folder / "nan.wav", chunk(b"fmt ", shape(3, 1, 250, 32)), chunk(b"data", b"\xff\xff\xff\x7f" + data[:396])
        ),
    ]
