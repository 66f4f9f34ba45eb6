"""Hot operations: the SSD scan, the causal convolution, the norms, and losses fused with the output projection.

Hugging Face publishes a distribution whose package is also named `kernels`, and transformers imports names from
it (`CUDAProperties`, `get_kernel`, ...) wherever that distribution is installed. This package comes first on
`sys.path` and would hide it, so here both are served under one name: the submodules below are ours, the search
path goes on into the other package, and a name that we lack is looked up in the other package's `__init__`,
which is loaded on first need as `_huggingface_kernels`. Submodule names that the other package uses
(layer, load, importer, utils, ...) must stay free here.
"""

import importlib.util
import pkgutil
import sys
from pathlib import Path

__path__ = pkgutil.extend_path(__path__, __name__)

_OTHER = "_huggingface_kernels"


def _load_other():
    """The other package of this name as a module, or None where it is not installed."""
    if _OTHER in sys.modules:
        return sys.modules[_OTHER]
    for folder in list(__path__)[1:]:
        init = Path(folder, "__init__.py")
        if init.is_file():
            spec = importlib.util.spec_from_file_location(_OTHER, init, submodule_search_locations=[folder])
            if spec is None or spec.loader is None:
                raise ImportError(f"cannot load {init}")
            module = importlib.util.module_from_spec(spec)
            sys.modules[_OTHER] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[_OTHER]
                raise
            return module
    return None


def __getattr__(name: str):
    # Python and its tools ask any module for names like __wrapped__; they must not load the other package.
    if not name.startswith("__") or name == "__version__":
        other = _load_other()
        if other is not None and hasattr(other, name):
            return getattr(other, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
