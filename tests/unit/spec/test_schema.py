"""The tree of checkers against the JSON schemas of runtime-spec, place by place and at random."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.spec import documents, schemas
from unit.spec.documents import Json

from kaa.errors import ConfigError
from kaa.spec.validate import validate

ORACLE = schemas.validator("config-schema.json")
PLACES = list(schemas.places("config-schema.json"))

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["/", "/a", "..", "a/b", "\0", "\ud800", "A=b", "user", "SCMP_ACT_ALLOW"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


def concrete(path: tuple[str, ...]) -> list[str | int]:
    """The path in `documents.full()`: each "*" becomes the first element."""
    found: list[str | int] = []
    value: Any = documents.full()
    for name in path:
        step: str | int = name
        if name == "*":
            step = 0 if isinstance(value, list) else next(iter(value))
        found.append(step)
        value = value[step]
    return found


def pointer(way: list[str | int]) -> str:
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in way)


def changed(way: list[str | int], value: Any) -> Any:
    """`documents.full()` with the value at `way` replaced."""
    if not way:
        return value
    document = documents.full()
    parent: Any = document
    for token in way[:-1]:
        parent = parent[token]
    parent[way[-1]] = value
    return document


def at(way: list[str | int]) -> Any:
    value: Any = documents.full()
    for token in way:
        value = value[token]
    return value


WRONG_TYPES: dict[str, list[Any]] = {
    "object": ["", 1, True, [], 1.5],
    "array": ["", 1, True, {}, 1.5],
    "string": [1, True, [], {}, 1.5],
    "boolean": ["", 1, 0, [], {}, "true"],
    "integer": ["", True, [], {}, 1.5, 1.0, "1"],
}


def violations(schema: dict[str, Any]) -> Iterator[Any]:
    """Values that break what the schema says of one place."""
    yield from WRONG_TYPES[schema["type"]]
    if "minimum" in schema:
        yield schema["minimum"] - 1
    if "maximum" in schema:
        yield schema["maximum"] + 1
    if "enum" in schema:
        yield from ["", "x", schema["enum"][0].title(), schema["enum"][0] + " "]
    if "pattern" in schema:
        yield from ["!", "x\n"]


def mutations() -> Iterator[Any]:
    for place in PLACES:
        way = concrete(place.path)
        for value in violations(place.schema):
            if not allowed(place.path, value):
                name = f"{pointer(way)}={value!r}"[:80]
                yield pytest.param(way, place.schema, value, id=name)


def allowed(path: tuple[str, ...], value: Any) -> bool:
    """What kaa takes and the schema does not; see the docstring of kaa.spec.schema."""
    if path == ("linux", "devices", "*", "fileMode"):
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32
    if path == ("linux", "rootfsPropagation"):
        return value in ("", "rprivate", "rslave", "rshared", "runbindable")
    return path == ("linux", "intelRdt", "memBwSchema") and value == ""


def test_the_example_is_valid() -> None:
    ORACLE.validate(documents.full())
    document = documents.full()
    validate(document)
    assert document == documents.full()


def test_the_example_has_every_property() -> None:
    for place in PLACES:
        concrete(place.path)
    assert len(PLACES) > 200


@pytest.mark.parametrize(("way", "schema", "value"), list(mutations()))
def test_every_violation_is_refused_at_its_place(
    way: list[str | int], schema: dict[str, Any], value: Any
) -> None:
    assert not ORACLE.evolve(schema=schema).is_valid(value)
    with pytest.raises(ConfigError) as caught:
        validate(changed(way, value))
    assert (caught.value.pointer or "") == pointer(way)


@pytest.mark.parametrize(
    ("path", "name"),
    [(place.path, name) for place in PLACES for name in place.schema.get("required", [])],
)
@pytest.mark.parametrize("null", [False, True])
def test_every_required_property_is_required(path: tuple[str, ...], name: str, null: bool) -> None:
    way = concrete(path)
    value = copy.deepcopy(at(way))
    if null:
        value[name] = None
    else:
        del value[name]
    with pytest.raises(ConfigError) as caught:
        validate(changed(way, value))
    assert caught.value.pointer == pointer([*way, name])


def outcome(document: Any) -> str | None:
    """What `validate` says against the document, if anything; it must fit in a log line."""
    try:
        validate(document)
    except ConfigError as error:
        text = str(error)
        text.encode()
        return text
    return None


@pytest.mark.parametrize("place", PLACES, ids=lambda place: "/".join(place.path))
def test_null_means_absent(place: schemas.Place) -> None:
    """Where a property may be missing it may be null, and is gone afterwards."""
    if not place.path or place.path[-1] == "*":
        return
    way = concrete(place.path)
    document = changed(way, None)
    without = changed(way, None)
    parent: Any = without
    for token in way[:-1]:
        parent = parent[token]
    del parent[way[-1]]
    assert outcome(document) == outcome(without)
    if outcome(without) is None:
        assert document == without


@pytest.mark.parametrize("place", PLACES, ids=lambda place: "/".join(place.path))
def test_unknown_properties_are_ignored(place: schemas.Place) -> None:
    if "properties" not in place.schema:
        return
    way = concrete(place.path)
    document = changed(way, at(way) | {"org.example.unknown": [None, {"a": 1.5}]})
    expected = copy.deepcopy(document)
    validate(document)
    assert document == expected


@pytest.mark.parametrize(
    "way", [concrete(place.path) for place in PLACES if place.schema["type"] == "string"]
)
@pytest.mark.parametrize("poison", ["\0", "\ud800"])
def test_no_string_has_a_nul_or_cannot_be_encoded(way: list[str | int], poison: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(changed(way, f"{at(way)}{poison}"))
    assert caught.value.pointer == pointer(way)
    str(caught.value).encode()


def random_change(draw: st.DrawFn, document: Json) -> None:
    """Replace, remove or add something somewhere."""
    value: Any = document
    while True:
        keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if isinstance(value[key], dict | list) and draw(st.integers(0, 4)):
            value = value[key]
            continue
        if draw(st.integers(0, 3)):
            value[key] = draw(ANY_JSON)
        else:
            del value[key]
        return
    if isinstance(value, dict):
        value[draw(st.text(max_size=5))] = draw(ANY_JSON)
    else:
        value.append(draw(ANY_JSON))


@st.composite
def mutated(draw: st.DrawFn) -> Json:
    document = documents.full()
    for _ in range(draw(st.integers(1, 3))):
        random_change(draw, document)
    return document


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_what_kaa_accepts_the_schema_accepts(document: Json) -> None:
    if outcome(document) is not None:
        return
    found = [
        error
        for error in ORACLE.iter_errors(document)
        if not allowed(tuple("*" if type(t) is int else t for t in error.path), error.instance)
    ]
    assert found == []


@settings(max_examples=300, deadline=None)
@given(ANY_JSON)
def test_no_json_whatever_makes_a_traceback(value: Any) -> None:
    with pytest.raises(ConfigError):
        validate(value)
