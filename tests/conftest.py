"""How Hypothesis draws here: the same examples in every run, and no verdict by the clock of a busy machine.

`--hypothesis-profile=searching` draws new examples instead.
"""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("searching", deadline=None)
settings.load_profile("repeatable")
