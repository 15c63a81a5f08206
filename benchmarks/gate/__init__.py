"""Is this version slower than an earlier one? ``nox -s gate`` answers for each scenario: ok, slower, inconclusive, new.

* ``decision.py`` is the rule, a pure function of timings; the tests try it on synthetic ones.
* ``trees.py`` chooses the base and puts both versions of the package side by side; ``driven.py`` is a worker that runs
  the workloads of *this* version on one of them, ``pairs.py`` starts two and lets them take turns.
* ``gate.py`` measures all scenarios and ``verdicts.py`` shows what was found; ``demonstration.py`` slows a hot path
  on purpose and writes ``results/GATE.md``.
"""
