"""Reports: what a run found, with what certainty, and how two conditions compare.

`build` makes a report and needs numpy and scipy; `kept` finds one that was made before; `render` shows it.
Nothing is imported here, so that showing a report needs none of what makes one.
"""
