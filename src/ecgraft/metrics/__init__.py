"""Numbers to numbers: how good are predictions, and how sure is that.

`y` (N, K) holds 1 yes, 0 no, -1 unknown; `known` (N, K) takes further pairs out. `weights` (N,) or (R, N) counts a
record that many times: ones give the point estimate, rows of `bootstrap.draws` the replicates, by the same code. What
is not defined (a class without positives or without negatives) is NaN.
"""
