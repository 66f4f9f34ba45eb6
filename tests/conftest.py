"""One torch thread in every test: the machines are small and tests run side by side.

Property tests draw the same examples in every run, so that a suite that passed passes again;
`HYPOTHESIS_PROFILE=random` (`make fuzz`) looks for new ones.
"""

import os

from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# How long an example takes says how busy the machine is.
settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("random"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def pytest_configure(config) -> None:
    import torch

    torch.set_num_threads(1)
