"""A frozen text encoder without weights: words, word pairs and pieces of words, each a fixed random vector.

It knows no meaning: two wordings are alike where they share words or pieces of words. For reports in a language with
a small vocabulary that is often enough, and it needs no file and no further library.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

import numpy as np

VERSION = 1  # of everything here that an embedding depends on
WIDTH = 384
ENTRIES = 16  # of a feature's vector that are not 0
PIECES = (3, 4, 5)  # characters
WEIGHTS = {"word": 1.0, "pair": 0.7, "piece": 0.3}
_TOKEN = re.compile(r"\d+(?:[.,]\d+)?|[^\W_]+")


class Words:
    """`embed(texts) -> (n, WIDTH) float32`: sum of the features' vectors, at length sqrt(WIDTH); 0 for a text of none.

    As random vectors are nearly orthogonal, this is a random projection of the counts of hashed n-grams.
    """

    def __init__(self):
        self.identity = {
            "kind": "words", "model": "hashed words, word pairs and pieces of words", "revision": str(VERSION),
            "max_tokens": 0, "pooling": "sum", "width": WIDTH,
        }  # fmt: skip

    def embed(self, texts: list[str]) -> np.ndarray:
        out = np.zeros((len(texts), WIDTH), np.float32)
        for row, text in zip(out, texts):
            for feature, weight in features(text).items():
                place, sign = _vector(feature)
                np.add.at(row, place, sign * np.float32(weight))
        length = np.sqrt(np.square(out).sum(1, keepdims=True))
        return out * (np.sqrt(WIDTH) / np.maximum(length, 1e-12)).astype(np.float32)


def features(text: str) -> dict[str, float]:
    """Feature -> weight times the square root of its count."""
    tokens = tokenise(text)
    found = [f"word {token}" for token in tokens]
    found += [f"pair {a} {b}" for a, b in pairwise(tokens)]
    found += [f"piece {piece}" for token in tokens for piece in _pieces(token)]
    count: dict[str, int] = {}
    for feature in found:
        count[feature] = count.get(feature, 0) + 1
    return {feature: WEIGHTS[feature.partition(" ")[0]] * n**0.5 for feature, n in count.items()}


def tokenise(text: str) -> list[str]:
    """Words and numbers in small letters without accents; of numbers from ten on, the tens ("72" is "7x")."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return [_tens(token) if token[0].isdigit() else token for token in _TOKEN.findall(plain)]


def _tens(number: str) -> str:
    whole = re.split("[.,]", number)[0]
    return f"{whole[:-1]}x" if len(whole) > 1 else number


def _pieces(token: str) -> list[str]:
    """Runs of PIECES characters, the ends of the word marked; none of numbers."""
    if token[0].isdigit():
        return []
    marked = f"<{token}>"
    return [marked[i : i + n] for n in PIECES for i in range(len(marked) - n + 1)]


@lru_cache(maxsize=1 << 17)
def _vector(feature: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the feature's vector is not 0, (ENTRIES,), and its values there, of length 1."""
    digest = hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=4 * ENTRIES).digest()
    numbers = np.frombuffer(digest, "<u4")
    sign = np.where(numbers >> 31, -1, 1).astype(np.float32) / np.float32(ENTRIES**0.5)
    return (numbers & 0x7FFFFFFF) % WIDTH, sign
