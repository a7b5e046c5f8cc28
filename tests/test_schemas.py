"""The schema files: compatible with every released version, documented, and found where they are installed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import avro.schema
import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType

from stream_triggers.errors import Misconfigured
from stream_triggers.runtime.codec.schemas import SCHEMAS, directory, load

FILES = Path(__file__).parents[1] / "schemas"
PRESENT = {json.loads(path.read_text())["name"]: path for path in sorted(FILES.glob("*.avsc"))}
RELEASED = sorted(FILES.glob("history/*/*.avsc"))


def plain(path: Path) -> Any:
    """The schema in ``path`` without what no reader or writer looks at, and without logical types."""
    return _strip(json.loads(path.read_text()), ("doc", "logicalType"))


def _strip(schema: Any, names: tuple[str, ...]) -> Any:
    if isinstance(schema, dict):
        return {name: _strip(value, names) for name, value in schema.items() if name not in names}
    if isinstance(schema, list):
        return [_strip(value, names) for value in schema]
    return schema


def parsed(schema: Any) -> avro.schema.Schema:
    return avro.schema.parse(json.dumps(schema))


def can_read(reader: Any, writer: Any) -> bool:
    result = ReaderWriterCompatibilityChecker().get_compatibility(parsed(reader), parsed(writer))
    return result.compatibility is SchemaCompatibilityType.compatible


def is_newest(schema: Any, history: list[Any]) -> bool:
    """Whether the last released version says what ``schema`` says, their documentation aside."""
    return bool(history) and _strip(history[-1], ("doc",)) == _strip(schema, ("doc",))


def versions(name: str) -> list[Any]:
    numbered = {int(path.stem): json.loads(path.read_text()) for path in RELEASED if path.parent.name == name}
    return [numbered[number] for number in sorted(numbered)]


def fields(schema: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field and every record in ``schema``, under a name to find it by."""
    if isinstance(schema, list):
        for branch in schema:
            yield from fields(branch, path)
    elif isinstance(schema, dict) and schema["type"] == "record":
        yield f"{path}{schema['name']}", schema
        for field in schema["fields"]:
            yield f"{path}{schema['name']}.{field['name']}", field
            yield from fields(field["type"], f"{path}{schema['name']}.{field['name']}.")
    elif isinstance(schema, dict):
        yield from fields(schema.get("items", "null"), path)


EVERY_FIELD = [one for path in PRESENT.values() for one in fields(json.loads(path.read_text()), "")]


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_present_version_reads_every_released_one(path: Path) -> None:
    assert can_read(plain(PRESENT[path.parent.name]), plain(path))


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_released_version_reads_the_present_one(path: Path) -> None:
    assert can_read(plain(path), plain(PRESENT[path.parent.name]))


@pytest.mark.parametrize("name", PRESENT)
def test_the_present_version_is_the_last_released_one(name: str) -> None:
    assert is_newest(json.loads(PRESENT[name].read_text()), versions(name)), (
        f"{PRESENT[name].name} has changed: copy it to history/{name}/{len(versions(name)) + 1}.avsc"
    )


@pytest.mark.parametrize("name", PRESENT)
def test_released_versions_are_numbered_without_a_gap(name: str) -> None:
    numbers = sorted(int(path.stem) for path in RELEASED if path.parent.name == name)

    assert numbers == list(range(1, len(numbers) + 1))


def test_a_changed_schema_without_a_new_version_is_noticed() -> None:
    schema = json.loads(PRESENT["Tick"].read_text())
    schema["fields"].append({"name": "extra", "type": "int", "default": 0, "doc": "New."})

    assert not is_newest(schema, versions("Tick"))


def test_a_new_field_without_a_default_is_incompatible() -> None:
    released = plain(PRESENT["Tick"])
    changed = {**released, "fields": [*released["fields"], {"name": "extra", "type": "int"}]}

    assert not can_read(changed, released)


@pytest.mark.parametrize(("name", "field"), EVERY_FIELD, ids=[name for name, _ in EVERY_FIELD])
def test_every_record_and_field_says_what_it_is(name: str, field: dict[str, Any]) -> None:
    assert field.get("doc", "").endswith("."), f"{name} has no doc, or it is no sentence"


@pytest.mark.parametrize("name", PRESENT)
def test_the_fingerprint_is_the_one_that_avro_computes(name: str) -> None:
    fingerprint = parsed(plain(PRESENT[name])).fingerprint("CRC-64-AVRO")

    assert SCHEMAS.present[name].header == b"\xc3\x01" + bytes(fingerprint)


def test_a_logical_type_leaves_no_trace_in_the_fingerprint(tmp_path: Path) -> None:
    def header(of: Any) -> bytes:
        schema = {"type": "record", "name": "R", "fields": [{"name": "at", "type": of}]}
        (tmp_path / "r.avsc").write_text(json.dumps(schema))
        return load(tmp_path).present["R"].header

    assert header({"type": "long", "logicalType": "timestamp-millis"}) == header("long")


def test_schemas_inside_the_installed_package_come_first(tmp_path: Path) -> None:
    (tmp_path / "package" / "schemas").mkdir(parents=True)
    (tmp_path / "schemas").mkdir()

    assert directory(tmp_path / "package") == tmp_path / "package" / "schemas"


def test_in_a_checkout_schemas_are_beside_the_package(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "schemas").mkdir()

    assert directory(tmp_path / "package") == tmp_path / "schemas"


def test_an_installation_without_schemas_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no schema files in"):
        directory(tmp_path / "package")
