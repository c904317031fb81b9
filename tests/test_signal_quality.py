"""Each fault is put into a clean lead by hand and must be named, and nothing else."""

import numpy as np
import pytest

from ecgraft.record import Record
from ecgraft.signal.quality import findings

RATE = 500
T = 10 * RATE


def clean():
    """Beats of 1 mV once a second, with a little noise."""
    t = np.arange(T) / RATE
    beats = np.exp(-((((t % 1) - 0.5) / 0.02) ** 2))
    return (beats + 0.01 * np.random.default_rng(0).standard_normal(T)).astype(np.float32)


def flat(x):
    x[:] = 0.3


def clipped(x):
    np.clip(x, -1, 0.6, out=x)


def missing(x):
    x[:500] = np.nan


def absent(x):
    x[:] = np.nan


def huge(x):
    x *= 20 / x.max()


def tiny(x):
    x *= 0.01


def still(x):
    x[1000:4600] = 0


def hum(x):
    x += 0.2 * np.sin(2 * np.pi * 50 * np.arange(T) / RATE)


def american_hum(x):
    x += 0.2 * np.sin(2 * np.pi * 60 * np.arange(T) / RATE)


FAULTS = {
    flat: "lead V1 is flat at 0.3 mV",
    clipped: "lead V1 is clipped at 0.6 mV for 3.0% of its time",
    missing: "lead V1 has no samples for 10% of its time",
    absent: "lead V1 has no samples",
    huge: "lead V1 reaches 20 mV, more than a heart gives: check its unit and gain",
    tiny: "lead V1 spans only 0.01",
    still: "lead V1 stands still for 72% of its time",
    hum: "lead V1 has mains hum: 0.20 mV at 50 Hz",
    american_hum: "lead V1 has mains hum: 0.20 mV at 60 Hz",
}


def test_a_clean_lead_gets_no_sentence():
    assert findings(Record(np.stack([clean(), clean()]), RATE, ("II", "V1"))) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_a_fault_is_named_with_its_lead(fault):
    bad = clean()
    fault(bad)
    (sentence,) = findings(Record(np.stack([clean(), bad]), RATE, ("II", "V1")))
    assert sentence.startswith(FAULTS[fault])


def test_a_short_record_at_a_low_rate_does_not_fail():
    assert isinstance(findings(Record(np.ones((1, 1)), 100, ("II",))), list)
