import gc

import pytest

from docendo.runtime.collector import patient_collector


def _fail_inside(seen):
    with patient_collector():
        seen.append(gc.get_threshold()[0])
        raise RuntimeError("stop")


def test_the_collector_is_patient_inside_and_as_before_afterwards():
    before, seen = gc.get_threshold(), []
    with pytest.raises(RuntimeError, match="stop"):
        _fail_inside(seen)
    assert seen[0] > before[0]
    assert gc.get_threshold() == before
