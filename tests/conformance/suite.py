"""The tests of this checkout, read and not run: which there are, and what they speak of."""

import ast
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


class Module:
    """One file of tests."""

    def __init__(self, path: Path) -> None:
        self._package = path.parent
        self._definitions: dict[str, ast.AST] = {}
        self._imports: dict[str, tuple[str, str]] = {}
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                self._definitions[node.name] = node
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef):
                        self._definitions[f"{node.name}::{method.name}"] = method
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        self._definitions[target.id] = node
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    source = "." * node.level + (node.module or "")
                    self._imports[alias.asname or alias.name] = (source, alias.name)

    @property
    def tests(self) -> list[str]:
        """The names of its test functions; a method's is CLASS::NAME."""
        return [
            name
            for name, node in self._definitions.items()
            if name.rpartition("::")[2].startswith("test_") and isinstance(node, ast.FunctionDef)
        ]

    def words(self, name: str, seen: set[object] | None = None) -> set[str]:
        """What the definition of `name` speaks of, with all that it uses of the tests.

        String constants (a pointer in its parts), the names of attributes and of
        keyword arguments: all the ways to name a property. The kit's own words do not
        count: its default document is in every test.
        """
        seen = set() if seen is None else seen
        node = self._definitions.get(name)
        if node is None or (self, name) in seen:
            return set()
        seen.add((self, name))
        found: set[str] = set()
        for inner in ast.walk(node):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
                found |= {inner.value, *inner.value.split("/")}
            elif isinstance(inner, ast.keyword) and inner.arg:
                found.add(inner.arg)
            elif isinstance(inner, ast.Attribute):
                found.add(inner.attr)
                if isinstance(inner.value, ast.Name):
                    found |= self._imported(inner.value.id, inner.attr, seen)
            elif isinstance(inner, ast.Name):
                found |= self.words(inner.id, seen) | self._imported(inner.id, None, seen)
            elif isinstance(inner, ast.arg) and inner.arg != name:
                found |= self.words(inner.arg, seen)  # a fixture of this file
        return found

    def _imported(self, name: str, attribute: str | None, seen: set[object]) -> set[str]:
        """The words of what another file of tests defines: `name`, or `name.attribute`."""
        if name not in self._imports:
            return set()
        source, original = self._imports[name]
        if source.split(".")[0] == "kit":
            return set()
        relative = source.startswith(".")
        directory = self._package if relative else TESTS
        parts = [part for part in source.lstrip(".").split(".") if part]
        for way, wanted in (([*parts, original], attribute), (parts, original)):
            path = directory.joinpath(*way).with_suffix(".py") if way else None
            if path is not None and path.is_file() and wanted is not None:
                return module(path).words(wanted, seen)
        return set()


@cache
def module(path: Path) -> Module:
    """The file, read once."""
    return Module(path)


def exists(test: str) -> bool:
    """Whether there is a test of this id: PATH-BELOW-TESTS::NAME."""
    path, _, name = test.partition("::")
    return (TESTS / path).is_file() and name in module(TESTS / path).tests


def words(test: str) -> set[str]:
    """What the test of this id speaks of (see Module.words)."""
    path, _, name = test.partition("::")
    return module(TESTS / path).words(name)
