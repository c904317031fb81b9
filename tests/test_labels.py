"""Label files as people make them: every dialect, and what is wrong said so that it can be mended."""

from __future__ import annotations

import pytest

from ecgraft.record import InputError
from ecgraft.store.labels import match, read_labels
from made_records import plain

WIDE = (
    "id,patient,age,sex,AF,LVH,QTc,note\na/1,p1,64,F,1,no,431.5,seen twice\na/2,p2,,m,0,,,\na/3,p2,51,,yes,true,400,\n"
)


def write(path, text: str | bytes):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_column_for_each_label(tmp_path):
    known = read_labels(write(tmp_path / "l.csv", WIDE))
    one, two, three = (known[f"a/{k}"] for k in (1, 2, 3))
    assert one.labels == {"own:AF": 1, "own:LVH": 0} and two.labels == {"own:AF": 0}  # a blank is unknown
    assert three.labels == {"own:AF": 1, "own:LVH": 1} and not three.complete
    assert one.values == {"QTc": 431.5} and two.values == {} and one.extra == {"note": "seen twice"}
    assert one.person == {"patient": "p1", "age": 64.0, "sex": "F"} and two.person == {"patient": "p2", "sex": "M"}


def test_what_is_known_goes_into_the_record(tmp_path):
    known = read_labels(write(tmp_path / "l.csv", WIDE + "a/4,,,,,,,\n"))
    record = plain(0, age=30.0, labels={"scp:NORM": 1})
    got = known["a/1"].of(record)
    assert (got.patient, got.age, got.sex) == ("p1", 64.0, "F")
    assert got.labels == {"scp:NORM": 1, "own:AF": 1, "own:LVH": 0} and got.values == {"QTc": 431.5}
    bare = known["a/4"].of(record)
    assert (bare.patient, bare.age, bare.labels) == ("p0", 30.0, {"scp:NORM": 1})


def test_one_column_of_names(tmp_path):
    known = read_labels(write(tmp_path / "l.csv", "ecg_id,label\n1,AF|LVH\n2,normal\n3,\n4,AF; normal\n"))
    assert known["1"].labels == {"own:AF": 1, "own:LVH": 1} and known["4"].labels == {"own:AF": 1, "own:normal": 1}
    assert known["2"].complete == {"own"} and known["3"].labels == {} and not known["3"].complete


def test_names_beside_columns(tmp_path):
    """LVH is blank for record 2: unknown, though its rhythm is known."""
    known = read_labels(write(tmp_path / "l.csv", "id,label,LVH\n1,AF,1\n2,SR,\n3,,0\n"))
    assert known["1"].labels == {"own:AF": 1, "own:SR": 0, "own:LVH": 1} and not known["1"].complete
    assert known["2"].labels == {"own:AF": 0, "own:SR": 1} and known["3"].labels == {"own:LVH": 0}


def test_a_label_column_of_yes_and_no(tmp_path):
    assert read_labels(write(tmp_path / "l.csv", "id,label\n1,0\n2,1\n"))["1"].labels == {"own:label": 0}


def test_numbers_that_are_no_labels(tmp_path):
    known = read_labels(write(tmp_path / "l.csv", "id,grade,split\n1,0,train\n2,2,dev\n3,1,\n"))
    assert (
        known["1"].values == {"grade": 0} and known["1"].labels == {} and known["2"].person == {"split": "validation"}
    )


DIALECTS = {
    "comma": 'id,Ärger,QTc\nx,1,"4,5"\n'.encode(),
    "semicolon, decimal comma": "id;Ärger;QTc\nx;1;4,5\n".encode(),
    "tab": "id\tÄrger\tQTc\nx\t1\t4.5\n".encode(),
    "mark": "id,Ärger,QTc\nx,1,4.5\n".encode("utf-8-sig"),
    "latin-1": "id,Ärger,QTc\nx,1,4.5\n".encode("latin-1"),
    "utf-16": "id\tÄrger\tQTc\nx\t1\t4.5\n".encode("utf-16"),
    "CR LF, blank lines, blanks, quotes": '"Id" , "Ärger" , QTc ,,\r\n\r\n x , yes , 4.5 ,,\r\n,,\r\n'.encode(),
    "short rows": "id,Ärger,QTc,LVH\nx,1,4.5\n".encode(),
    "other name": "File Name,Ärger,QTc\nx,1,4.5\n".encode(),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects(tmp_path, dialect):
    known = read_labels(write(tmp_path / "l.csv", DIALECTS[dialect]))
    assert list(known) == ["x"] and known["x"].labels == {"own:Ärger": 1} and known["x"].values == {"QTc": 4.5}


WRONG = {
    "no id": ("name of it,AF\nx,1\n", r"no column `id`.*its columns are name of it, AF"),
    "empty": ("", "empty"),
    "header only": ("id,AF\n", "only a line of column names"),
    "twice": ("id,AF\nx,1\ny,0\nx,0\n", r"line 4: id 'x' stood in line 2 already"),
    "blank id": ("id,AF\nx,1\n,1\n", "line 3: no id"),
    "same column": ("id,AF,AF\nx,1,0\n", "two columns are called 'AF'"),
    "long row": ("id,AF\nx,1,0,1\n", "line 2: 4 cells for 2 columns"),
    "age": ("id,age\nx,old\n", "line 2: age 'old' is no number"),
    "sex": ("id,sex\nx,7\n", "line 2: sex '7'; write one of F, M"),
    "split": ("id,split\nx,fold1\n", "line 2: split 'fold1'; write one of test, train, validation"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said(tmp_path, what):
    text, message = WRONG[what]
    with pytest.raises(InputError, match=rf"l\.csv.*{message}"):
        read_labels(write(tmp_path / "l.csv", text))


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv"):
        read_labels(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"b\.csv"):
        read_labels(write(tmp_path / "b.csv", bytes(range(256)) * 40))


PATHS = ["ward/1.csv", "ward/2.csv", "lab/2.csv", "lab/3.hea"]


def test_ids_are_names_or_paths():
    known = {"1": "a", "ward\\2.csv": "b", "lab/2": "c", "3.hea": "d"}
    assert match(known, PATHS, "l.csv") == ["a", "b", "c", "d"]
    assert match({"lab/3": "d"}, PATHS, "l.csv") == [None, None, None, "d"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["1", "7", "8", "9", "10", "11", "12"], r"6 of 7 ids fit no record: '7', '8', '9', '10', '11' \.\.\."),
        (["2"], "id '2' fits 'ward/2.csv', 'lab/2.csv'; write the path"),
        (["1", "ward/1"], "two ids fit ward/1.csv"),
    ],
)
def test_ids_that_do_not_fit(ids, message):
    with pytest.raises(InputError, match=message):
        match(dict.fromkeys(ids, "said"), PATHS, "l.csv")
