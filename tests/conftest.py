"""One torch thread in every test: the machines are small and tests run side by side."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def pytest_configure(config) -> None:
    import torch

    torch.set_num_threads(1)
