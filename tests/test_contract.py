"""The contract: canonical, hashed, refused when tampered with, and exact about what differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructforge.contract import FILE_NAME, Contract, differences, target_to_json
from instructforge.errors import ContractMismatchError
from instructforge.tasks import Choice, Span, Tags, Text

SCHEMA = Path(__file__).parent.parent / "docs" / "schemas" / "contract.json"

CONTRACT = Contract(
    task="qa",
    target=target_to_json(Span(within="context", nullable=True)),
    family="causal",
    trainer="causal",
    method="lora",
    head="span",
    fields=("question", "context"),
    templates={"qa/zh/exam": "{% block prompt %}问题{% endblock %}"},
    chat_template="{{ messages }}",
    tokenizer_sha256="ab" * 32,
    decoder="span-text",
    encoding={"max_length": 512, "system_folded": False},
    labels=("是", "no"),
    stop_ids=(2,),
    stop_texts=("<|im_end|>",),
    pinned={"date": "2026-01-31"},
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    CONTRACT.write(tmp_path, {"torch": "2.13.0"})
    again = Contract.read(tmp_path)
    assert again.to_json() == CONTRACT.to_json()
    assert again.sha256 == CONTRACT.sha256
    again.require(CONTRACT)


def test_versions_are_recorded_and_not_hashed(tmp_path: Path) -> None:
    one = json.loads(CONTRACT.write(tmp_path / "one", {"torch": "1"}).read_text(encoding="utf-8"))
    other = json.loads(CONTRACT.write(tmp_path / "other", {"torch": "2"}).read_text(encoding="utf-8"))
    assert one["sha256"] == other["sha256"]
    assert (one["versions"], other["versions"]) == ({"torch": "1"}, {"torch": "2"})


@pytest.mark.parametrize(
    "target", [Text(), Choice(["a", "b"]), Choice(from_field="x"), Span(within="c"), Tags(("PER",))]
)
def test_every_target_goes_to_json(target: Any, tmp_path: Path) -> None:
    contract = attrs.evolve(CONTRACT, target=target_to_json(target))
    contract.write(tmp_path)
    assert Contract.read(tmp_path).target == contract.to_json()["target"]


def test_the_hash_follows_every_part() -> None:
    others: dict[str, Any] = {"chat_template": None, "fields": ("context", "question"), "labels": ("no", "是")}
    for part in attrs.fields(Contract):
        value = getattr(CONTRACT, part.name)
        changed = others.get(
            part.name,
            {**value, "x": 1} if isinstance(value, dict) else [*value, 7] if isinstance(value, tuple) else f"{value}x",
        )
        assert attrs.evolve(CONTRACT, **{part.name: changed}).sha256 != CONTRACT.sha256, part.name


def test_the_hash_does_not_follow_the_order_of_keys() -> None:
    turned = attrs.evolve(CONTRACT, encoding=dict(reversed(list(CONTRACT.encoding.items()))))
    assert turned.sha256 == CONTRACT.sha256


def _at(value: Any, path: list[Any]) -> Any:
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["chat_template"], "{{ bos_token }}{{ messages }}"),
        (["encoding", "max_length"], 513),
        (["templates", "qa/zh/exam"], ""),
        (["stop_ids", 0], 3),
        (["format"], 2),
    ],
)
def test_a_changed_file_is_refused(path: list[Any], value: Any, tmp_path: Path) -> None:
    file = CONTRACT.write(tmp_path)
    document = json.loads(file.read_text(encoding="utf-8"))
    _at(document["contract"], path[:-1])[path[-1]] = value
    file.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ContractMismatchError, match="changed after it was written"):
        Contract.read(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"contract": 1, "sha256": "x"}', "[" * 100_000, "\x00", '{"contract": {}, "sha256": 5}'],
)
def test_a_broken_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(content, encoding="utf-8")
    with pytest.raises(ContractMismatchError, match="cannot be read"):
        Contract.read(tmp_path)


def test_a_folder_without_contract_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ContractMismatchError, match="Train the model first"):
        Contract.read(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("stop_ids", ["2"], '"stop_ids" is not a list of int'),
        ("stop_ids", [True], '"stop_ids" is not a list of int'),
        ("templates", {"a": 1}, "templates"),
        ("encoding", [], '"encoding" is list'),
        ("task", None, '"task" is NoneType'),
        ("chat_template", 3, "chat_template"),
        ("extra", 1, '"extra" is not known'),
    ],
)
def test_a_wrong_shape_is_refused(key: str, value: Any, said: str) -> None:
    with pytest.raises(ContractMismatchError, match="not well formed") as caught:
        Contract.from_json({**CONTRACT.to_json(), key: value})
    assert said in str(caught.value)


def test_another_format_is_refused() -> None:
    with pytest.raises(ContractMismatchError, match="format"):
        Contract.from_json({**CONTRACT.to_json(), "format": 2})


def test_differences_name_their_key_paths() -> None:
    other = attrs.evolve(CONTRACT, encoding={"max_length": 384, "stride": 128}, labels=("是",))
    assert CONTRACT.differences(other) == [
        "encoding.max_length: 512, not 384",
        "encoding.stride: nothing, not 128",
        "encoding.system_folded: False, not there",
        "labels: ['是', 'no'], not ['是']",
    ]
    with pytest.raises(ContractMismatchError) as caught:
        CONTRACT.require(other)
    assert caught.value.differences == tuple(CONTRACT.differences(other))
    assert "encoding.max_length: 512, not 384" in str(caught.value)


def test_single_facts_are_checked() -> None:
    CONTRACT.require(tokenizer_sha256="ab" * 32, labels=("是", "no"), stop_ids=[2])
    with pytest.raises(ContractMismatchError, match="tokenizer_sha256"):
        CONTRACT.require(tokenizer_sha256="cd" * 32)
    with pytest.raises(TypeError, match="no colour"):
        CONTRACT.require(colour="red")


@given(one=json_values, other=json_values)
def test_differences_are_empty_only_for_equals(one: Any, other: Any) -> None:
    assert not list(differences(one, one))
    if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
        assert list(differences(one, other))


def test_the_schema_fits_what_is_written(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    document = json.loads(CONTRACT.write(tmp_path, {"torch": "1"}).read_text(encoding="utf-8"))
    jsonschema.validate(document, schema)
    assert set(schema["properties"]["contract"]["properties"]) == set(CONTRACT.to_json())
    del document["contract"]["labels"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
