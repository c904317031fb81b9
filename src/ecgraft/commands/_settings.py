"""How a graft is trained: the settings of `ecgraft adapt` and of the rows of a protocol."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ..nn.network import HeadConfig
from ..plugs import configure
from ..training import Config as Training

TRAINING = {"rate": 2e-3, "average": 0.98}  # where adapting differs from the defaults of training.Config
OF_ADAPTER = {"full": {"rate": 1e-3}, "linear": {"rate": 5e-3, "decay": 0.1}}  # where one differs from that
PASSES, STEPS = 40, (200, 3000)  # how long a graft is trained where nobody says so


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Settings:
    """How a graft is trained.

    adapter         what may change in the encoder, by name
    adapter_config  settings of the adapter; rank: auto finds the ranks of its layers out from the labelled records
    semi            how records without labels are learnt from too: semi_bn, fixmatch, mean_teacher; none by default
    semi_config     settings of that
    tail            unlabelled windows in a step, as a share of the labelled ones
    seconds         window, s (default: the encoder's own)
    leads           leads that the task reads (default: the encoder's own); of the others nothing is asked later
    batch           windows in a step
    balance         0: records in turn; 1: classes equally often
    rare            what to do about labels with fewer than two positive records: refuse them, or note it and go on
    simulated       share of the windows of a step that are simulated ECGs, with exact waves or R peaks
    smoothing       share of a class target that is spread over the other classes
    augment         views that are laid over the training windows, by name, with their settings
    start           graft: from the head of the model's own graft of that name, if it fits; new: from a new head
    head            dropout and width of the head; leads: joint (one pass) or each (one by one); kind: linear, decoder
                    (reads all levels; cascade: its width for records) or knn (nearest neighbours on a frozen encoder:
                    nothing is learnt, what is said of training is not used)
    training        steps, rate ... (training.Config); what is not given goes by the adapter (`training`)
    calibrate       how probabilities are corrected on the validation part: temperature, isotonic or none
    coverage        share of the records whose true answer is to be among those that are called possible
    cache           keep what frozen layers compute, where nothing random comes before them
    """

    adapter: str = "full"
    adapter_config: dict = Field(default_factory=dict)
    semi: str = ""
    semi_config: dict = Field(default_factory=dict)
    tail: float = Field(1.0, ge=0)
    seconds: float | None = Field(None, gt=0)
    leads: tuple[str, ...] | None = None
    batch: int = Field(32, ge=1)
    balance: float = Field(0.0, ge=0, le=1)
    rare: Literal["refuse", "note"] = "refuse"
    simulated: float = Field(0.0, ge=0, lt=1)
    smoothing: float = Field(0.0, ge=0, lt=1)
    augment: dict[str, dict] = Field(default_factory=lambda: {"gain": {}, "noise": {}, "lead_loss": {}})
    start: Literal["graft", "new"] = "graft"
    head: HeadConfig = HeadConfig()
    training: dict = Field(default_factory=dict)
    calibrate: Literal["temperature", "isotonic", "none"] = "temperature"
    coverage: float = Field(0.9, gt=0, lt=1)
    cache: bool = True


def with_defaults(options: Settings, steps: int, seed: int) -> Settings:
    """The settings with steps and seed of the training where they are open."""
    return replace(options, training={"steps": steps, "seed": seed} | options.training)


def training(options: Settings) -> Training:
    """How a job with these settings is trained; what they leave open goes by the adapter. Raises UsageError."""
    usual = TRAINING | OF_ADAPTER.get(options.adapter, {})
    return configure(Training, usual | options.training, "training")


def fitting_steps(records: int, batch: int, least: int = STEPS[0], most: int = STEPS[1], passes: int = PASSES) -> int:
    """Steps for a graft: `passes` over the records, but at least `least` and at most `most`."""
    return min(max(round(passes * records / batch), least), most)
