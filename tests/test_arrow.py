"""The rooms: `assets -> ops -> model -> kernels`, nothing points back, and definitions load nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("assets", "ops", "model", "kernels")
FORBIDDEN = {
    "ops": {"assets", "dagster", "dagster_pipes"},
    "model": {"assets", "ops", "dagster", "dagster_pipes", "transformers", "polars", "pyarrow", "datasets"},
    "kernels": {"assets", "ops", "model", "dagster", "dagster_pipes", "transformers", "polars", "pyarrow"},
    "assets": set(),
}
HEAVY = ("torch", "transformers", "datasets", "vllm", "triton")


def imports(path: Path) -> set[str]:
    """Top-level names of everything a file imports, at any depth of its code."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_points_back(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    wrong = {str(path.relative_to(ROOT)): sorted(imports(path) & FORBIDDEN[room]) for path in files}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_the_check_sees_imports_inside_functions(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from assets.graph import Node\n    import dagster.core\n")
    assert imports(path) & FORBIDDEN["ops"] == {"assets", "dagster"}


def test_importing_the_definitions_loads_nothing_heavy() -> None:
    code = (
        "import sys, assets.definitions\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], len(list(assets.definitions.defs.assets)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names, count = done.stdout.strip().rsplit(" ", 1)
    assert names == "[]"
    assert 15 <= int(count) <= 55


def test_model_and_kernels_import_where_only_torch_numpy_and_safetensors_are() -> None:
    """Everything else that is installed here is hidden from the import."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for room in ("model", "kernels", "ops/train")
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name not in ("__main__.py", "__init__.py") and not path.stem.endswith("_triton")  # loaded at first use
    ]
    code = f"""
import sys, importlib
class Hide:
    hidden = {{"dagster", "polars", "pyarrow", "transformers", "datasets", "tokenizers", "fsspec", "s3fs", "lxml",
              "selectolax", "fastwarc", "resiliparse", "tqdm", "pandas", "scipy", "triton"}}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.hidden:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Hide())
for name in {modules!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
