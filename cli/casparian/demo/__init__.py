"""`casparian demo`: the whole main job on generated FIX logs, told step by step and checked against what was planted.

`steps` is the story and `session` calls the real command line; `watch` shows the live progress; `facts` reads what came
out, `checks` holds it against the generator's truth and `narration` words it (all three pure). The truth is written when
the faults are planted; nothing here derives it from a run.
"""
