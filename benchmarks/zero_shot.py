"""Asking with words after pretraining on simulated ECGs: python benchmarks/zero_shot.py --data FOLDER

CETP trains an encoder on simulated ECGs whose reports use the first half of the simulator's wordings and sentence
frames, once with each text encoder that is installed. The test is on other simulated ECGs, whose reports and prompts
use the second half alone:

    bare     each finding as the held-out wordings have it ("VES")
    reports  whole reports of that one finding, in held-out wordings and held-out frames ("EKG: VES; Frequenz 75/min.")
    trained  the wordings that it was trained with, bare, for comparison

each against what a report would say instead, and alone; and on the real ECGs of PTB-XL with the prompts that come with
ecgraft, of which the training has seen nothing. The bar: macro AUROC above 0.75 with bare and with reports. A training
goes on when interrupted.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from _corpora import arguments, corpus
from _result import keep

import ecgraft
from ecgraft import simulator, tasks
from ecgraft.model import Model
from ecgraft.nn import text
from ecgraft.record import InputError
from ecgraft.simulator.text import prompts, report
from ecgraft.tasks import _prompts

TASK = tasks.find("findings")
TRAINED, HELD = "first", "second"  # halves of wordings and frames
TEST_SEED = 271_828  # added to the seed: other ECGs than those that were trained on
REPORTS = 12  # drawn for each finding and language, to meet every held-out wording and frame
NORMAL, SINUS = "normal ECG", "sinus rhythm"
NOT_SINUS = ("atrial fibrillation", "atrial flutter", "paced rhythm")
USUAL = {"rate": 75, "pr": 160, "qrs": 95, "qt": 400}


def installed(name: str) -> bool:
    try:
        text.build(name)
    except InputError as error:
        print(f"left out: {error}")
        return False
    return True


def trained(given, name: str) -> Path:
    """The model that was trained with this text encoder; a finished one is only found again."""
    to = given.runs / "zero_shot" / f"{name}-{given.steps}-{given.seed}"
    config = {"target": given.target} if given.target else {}
    ecgraft.pretrain(
        to=to, objective="cetp", encoder="resnet18", steps=given.steps, seed=given.seed, batch=given.batch,
        simulated=1.0, simulator={"wording": TRAINED}, text=name, objective_config=config,
    )  # fmt: skip
    return to


def simulated(given, wording: str) -> Path:
    """The test ECGs, with reports in these wordings; the ECGs are the same ones."""
    to = given.runs / "stores" / f"zero-shot-{wording}-{given.records}-{given.seed}"
    ecgraft.simulate(to=to, count=given.records, seed=TEST_SEED + given.seed, wording=wording, rate=250.0)
    return to


def reports(wording: str) -> dict[str, list[str]]:
    """Label -> reports that say nothing but one of its findings."""
    found = {}
    for label, codes in TASK.codes.items():
        names = [finding.name for finding in simulator.FINDINGS if set(finding.codes) & set(codes)]
        said = [
            report([name], USUAL, german, f"{name}/{k}", wording)
            for name in names for german in (False, True) for k in range(REPORTS)
        ]  # fmt: skip
        found[label] = list(dict.fromkeys(said))
    return {label: said for label, said in found.items() if said}


def instead(label: str) -> tuple[str, ...]:
    """Labels that a report has where this one is not: of rhythms as in the prompts of ecgraft, else a normal ECG."""
    if label in (NORMAL, SINUS):
        return NOT_SINUS if label == SINUS else ()
    return (SINUS,) if _prompts.find(TASK.name).labels[label].absent else (NORMAL,)


def asked(given) -> dict[str, Path]:
    """The files of prompts, by name."""
    wordings = {"bare": prompts(TASK.codes, HELD), "reports": reports(HELD), "trained": prompts(TASK.codes, TRAINED)}
    folder, files = given.runs / "zero_shot" / "prompts", {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, said in wordings.items():
        alone = {label: {"present": phrases} for label, phrases in said.items()}
        against = {
            label: {"present": phrases, "absent": [phrase for other in instead(label) for phrase in said[other]]}
            for label, phrases in said.items()
        }
        for kind, labels in ((name, against), (f"{name}, present alone", alone)):
            files[kind] = folder / f"{kind.replace(', ', '-').replace(' ', '-')}.yaml"
            content = yaml.safe_dump({"version": 1, "labels": labels}, allow_unicode=True)
            files[kind].write_text(content, encoding="utf-8")
    return files


def by_words(given, model: Path, store: Path, task: str, said: Path | str = "") -> dict:
    """AUROC of each label and their mean."""
    found = score(given, model, store, zero_shot=True, task=task, prompts=str(said))
    scores = found["scores"]
    each = {label: e and e["value"] and round(e["value"], 3) for label, e in scores["auroc"].items()}
    macro = {name: interval(scores[name]) for name in ("macro auroc", "macro ap")}
    return {"records": found["records"], **macro, "auroc": each}


def retrieved(given, model: Path, store: Path) -> dict:
    """Recall in both ways and what chance gives."""
    found = score(given, model, store, retrieval=True)
    ways = {way: {name: interval(e) for name, e in each.items()} for way, each in found["scores"].items()}
    chance = {way: {name: round(value, 4) for name, value in each.items()} for way, each in found["chance"].items()}
    return {"records": found["records"], "different reports": found["different reports"], **ways, "chance": chance}


def score(given, model: Path, store: Path, **how) -> dict:
    to = given.runs / "zero_shot" / "report"
    return ecgraft.evaluate(store, model=str(model), to=to, part="all", seed=given.seed, progress=False, **how)


def interval(estimate: dict) -> list:
    return [round(estimate[name], 3) for name in ("value", "low", "high")]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--records", type=int, default=800, help="simulated ECGs of the test")
    parser.add_argument("--text", nargs="+", default=list(text.NAMES), help="text encoders")
    parser.add_argument("--target", choices=("identity", "similarity"), help="of CETP (default: as it has it)")
    given = parser.parse_args()
    files, stores = asked(given), {wording: simulated(given, wording) for wording in (HELD, TRAINED)}
    real = corpus(given, "ptb_xl", "superclass").store.path
    found = {}
    for name in filter(installed, given.text):
        model = trained(given, name)
        card = Model.load(model).card
        found[name] = {
            "training": {key: round(card[key], 3) for key in ("step ms", "waited for data")},
            "simulated": {kind: by_words(given, model, stores[HELD], TASK.name, file) for kind, file in files.items()},
            "simulated, retrieval": {
                "held-out wordings": retrieved(given, model, stores[HELD]),
                "trained wordings": retrieved(given, model, stores[TRAINED]),
            },
            "PTB-XL": {task: by_words(given, model, real, task) for task in ("superclass", TASK.name)},
            "PTB-XL, retrieval": retrieved(given, model, real),
        }
    settings = {"steps": given.steps, "batch": given.batch, "seed": given.seed}
    keep("zero_shot", bar="macro AUROC above 0.75, bare and reports", **settings, **found)


if __name__ == "__main__":
    main()
