"""Heart beats in the five classes of ANSI/AAMI EC57, from WFDB symbols as in de Chazal et al., IEEE TBME 2004;51:1196.

Besides the symbols of that paper: B (bundle branch block, side not said) is N, r (R-on-T) is V, n (supraventricular
escape) is N like e and j. A beat without class ("?") is in none.
"""

from . import Task

TASK = Task(
    "beats",
    "beats",
    ("N", "S", "V", "F", "Q"),
    {
        "N": ("N", "L", "R", "B", "e", "j", "n"),
        "S": ("A", "a", "J", "S"),
        "V": ("V", "E", "r"),
        "F": ("F",),
        "Q": ("/", "f", "Q"),
    },
)
