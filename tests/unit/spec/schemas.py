"""The JSON schemas of runtime-spec (tests/data/oci): a validator, and a way to walk them."""

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import referencing
import referencing.jsonschema

jsonschema = importlib.import_module("jsonschema")  # it has no types of its own

DIRECTORY = Path(__file__).parents[2] / "data" / "oci"
OTHER_PLATFORMS = ("solaris", "windows", "vm", "zos", "freebsd")


def _read(path: Path) -> Any:
    """The schema in the file, every reference written with the name of its file."""

    def complete(found: dict[str, Any]) -> dict[str, Any]:
        if str(found.get("$ref", "")).startswith("#"):
            found["$ref"] = path.name + found["$ref"]
        return found

    return json.loads(path.read_text(), object_hook=complete)


FILES: dict[str, Any] = {path.name: _read(path) for path in sorted(DIRECTORY.glob("*.json"))}
for _platform in OTHER_PLATFORMS:
    del FILES["config-schema.json"]["properties"][_platform]


def validator(name: str) -> Any:
    """A validator for the schema in that file, which may refer to the others."""
    draft = referencing.jsonschema.DRAFT4
    registry: Any = referencing.Registry().with_resources(
        (file, draft.create_resource(contents)) for file, contents in FILES.items()
    )
    return jsonschema.Draft4Validator({"$ref": name}, registry=registry)


class Place(NamedTuple):
    """A place in a document, and what the schema says about it.

    `path` has names, and "*" for any element of an array or any name of an object
    whose names are free.
    """

    path: tuple[str, ...]
    schema: dict[str, Any]


def places(name: str) -> Iterator[Place]:
    """Every place that a document of this schema may have, references resolved."""
    yield from _walk((), FILES[name])


def _walk(path: tuple[str, ...], schema: dict[str, Any]) -> Iterator[Place]:
    schema = _resolved(schema)
    yield Place(path, schema)
    for name, inner in schema.get("properties", {}).items():
        yield from _walk((*path, name), inner)
    if "items" in schema:
        yield from _walk((*path, "*"), schema["items"])
    for inner in schema.get("patternProperties", {}).values():
        yield from _walk((*path, "*"), inner)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _walk((*path, "*"), schema["additionalProperties"])


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with `$ref`, `allOf`, and an `anyOf` of one, merged into it."""
    merged: dict[str, Any] = {}
    parts = [*schema.get("allOf", []), *schema.get("anyOf", [])]
    if "$ref" in schema:
        file, _, pointer = schema["$ref"].partition("#")
        found = FILES[file]
        for token in pointer.strip("/").split("/"):
            found = found[token]
        parts.append(found)
    for part in parts:
        for key, value in _resolved(part).items():
            if key == "properties":
                merged[key] = merged.get(key, {}) | value
            elif key == "required":
                merged[key] = merged.get(key, []) + value
            else:
                merged[key] = value
    own = {key: value for key, value in schema.items() if key not in ("$ref", "allOf", "anyOf")}
    return merged | own
