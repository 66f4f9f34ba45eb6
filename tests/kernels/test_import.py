"""`kernels` beside Hugging Face's distribution of the same name (a stand-in for it, in processes of their own)."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

OTHER_INIT = """
from kernels.layer import Device  # its own submodule, under the shared name
from kernels.loading import load_count

load_count.append(1)


class CUDAProperties:
    def __init__(self, min_capability, max_capability):
        self.range = (min_capability, max_capability)


class _Named:
    def __init__(self, *args, **kwargs):
        pass


class ROCMProperties(_Named):
    pass


class KernelizeFallback(_Named):
    pass


class LayerRepository(_Named):
    pass


class LocalLayerRepository(_Named):
    pass


class FuncRepository(_Named):
    pass


class Mode:
    TRAINING, INFERENCE, FALLBACK, TORCH_COMPILE = 1, 2, 4, 8


def _decorator(*args, **kwargs):
    return lambda cls: cls


def get_kernel(*args, **kwargs):
    raise RuntimeError("no kernel hub here")


register_kernel_mapping = replace_kernel_forward_from_hub = use_kernel_mapping = _decorator
kernelize = use_kernel_forward_from_hub = use_kernelized_func = use_kernel_func_from_hub = _decorator
__version__ = "0.18.2"
"""


@pytest.fixture
def other(tmp_path):
    """A folder that holds the other distribution, as installing it would."""
    package = tmp_path / "kernels"
    package.mkdir()
    (package / "__init__.py").write_text(OTHER_INIT)
    (package / "layer.py").write_text("class Device:\n    def __init__(self, **k):\n        self.k = k\n")
    (package / "loading.py").write_text("load_count = []\n")
    info = tmp_path / "kernels-0.18.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kernels\nVersion: 0.18.2\n")
    (info / "RECORD").write_text("kernels/__init__.py,,\n")
    return tmp_path


def run(code, *paths):
    bootstrap = f"import sys; sys.path[:0] = {[str(ROOT)]!r}; sys.path += {[str(p) for p in paths]!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", bootstrap + textwrap.dedent(code)], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def test_both_packages_are_served(other):
    lines = run(
        """
        import kernels
        print(kernels.__file__)
        assert not any(name.startswith("_huggingface") for name in sys.modules)
        from kernels import CUDAProperties
        import kernels.ssd, kernels.layer
        print(kernels.ssd.__file__)
        print(kernels.layer.__file__)
        print(CUDAProperties(80, 90).range, kernels.__version__)
        from kernels import Mode, Device
        from kernels.loading import load_count
        assert load_count == [1] and kernels.layer.Device is Device
        try:
            from kernels import absent
        except ImportError as error:
            print("ImportError")
        """,
        other,
    )
    assert lines[0] == str(ROOT / "kernels" / "__init__.py")
    assert lines[1] == str(ROOT / "kernels" / "ssd.py")
    assert lines[2] == str(other / "kernels" / "layer.py")
    assert lines[3:] == ["(80, 90) 0.18.2", "ImportError"]


def test_transformers_finds_the_other_package(other):
    lines = run(
        """
        from transformers.utils.import_utils import is_kernels_available
        assert is_kernels_available(), "the stand-in is not what transformers looks for"
        from transformers import AutoModelForCausalLM
        from transformers.integrations import hub_kernels
        print(hub_kernels.CUDAProperties.__module__)
        import kernels.ssd
        print(kernels.ssd.__file__)
        """,
        other,
    )
    assert lines == ["_huggingface_kernels", str(ROOT / "kernels" / "ssd.py")]


def test_an_error_of_the_other_package_is_shown(other):
    (other / "kernels" / "__init__.py").write_text("raise RuntimeError('broken build')\n")
    lines = run(
        """
        import kernels
        try:
            kernels.CUDAProperties
        except RuntimeError as error:
            print(error)
        """,
        other,
    )
    assert lines == ["broken build"]


def test_alone():
    lines = run(
        """
        import kernels
        assert not hasattr(kernels, "CUDAProperties")
        print("torch" in sys.modules)
        """
    )
    assert lines == ["False"]
