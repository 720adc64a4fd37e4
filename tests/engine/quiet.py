"""Settings of the libraries under the engines, in force where this module is imported before them.

One thread: tiny matrices gain nothing by more, and tests share the machine's cores. No compilation: it takes
longer than all tests. Nothing is asked of the hub.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
