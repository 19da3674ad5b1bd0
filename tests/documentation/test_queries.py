"""The pages on the data: their statements, the sample that these run on, their lists of fields, and the plan."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from benchmarks.plan import RESULTS, requests_table
from example_dags.zcc_parquet import changed_objects, write_parquet
from tests.contract.contract import DESCRIPTION
from tests.documentation.sample import DAY, SAMPLE, sample
from tests.documentation.texts import ROOT

LINES = sample().split("\n")[:-1]
RECORDS = [json.loads(line) for line in LINES]
DATA, QUERY = ((ROOT / "docs" / name).read_text() for name in ("data.md", "query.md"))
SECTIONS = dict(re.findall(r"^## (\w+)$(.*?)(?=^## |\Z)", QUERY, re.DOTALL | re.MULTILINE))
#: Its extension for S3 would be downloaded.
NEEDS_S3 = "CREATE SECRET"


def blocks(section: str) -> list[str]:
    return re.findall(r"^```sql\n(.*?)^```$", SECTIONS[section], re.DOTALL | re.MULTILINE)


def parsed(section: str) -> list[exp.Expr | None]:
    return [statement for sql in blocks(section) for statement in sqlglot.parse(sql, read=section.lower())]


def fields_in_contract() -> set[str]:
    """Return the fields of an engagement, those of objects in a list as ``list[].field``."""

    def paths(name: str, schema: dict[str, Any]) -> Iterator[str]:
        if schema.get("type") == "array":
            yield from paths(f"{name}[]", schema["items"])
        elif "properties" in schema and name:
            yield from (f"{name}.{field}" for field in schema["properties"])
        else:
            yield name

    properties = DESCRIPTION["components"]["schemas"]["Engagement"]["properties"]
    return {path for name, schema in properties.items() for path in paths(name, schema)}


def fields_in_columns(columns: list[exp.ColumnDef]) -> set[str]:
    """Return the same of a table, as far as the types of its columns say."""

    def paths(name: str, kind: exp.DataType) -> Iterator[str]:
        if kind.is_type("array"):
            yield from paths(f"{name}[]", kind.expressions[0])
        elif kind.is_type("struct"):
            yield from (f"{name}.{field.name}" for field in kind.expressions)
        else:
            yield name

    return {path for column in columns for path in paths(column.name, column.args["kind"])}


def columns_of(section: str) -> list[exp.ColumnDef]:
    """Return the columns of a section's first table."""
    tables = (table for one in parsed(section) if isinstance(one, exp.Create) for table in one.find_all(exp.Schema))
    return next(tables).expressions


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A bucket with the sample as one day's object, of several gzip members, its manifest, and its Parquet."""
    day = tmp_path / "zoom" / "engagements" / f"date={DAY:%Y-%m-%d}"
    parquet = tmp_path / "parquet" / day.relative_to(tmp_path) / "engagements.parquet"
    day.mkdir(parents=True)
    parquet.parent.mkdir(parents=True)
    lines = day / "engagements.jsonl.gz"
    lines.write_bytes(b"".join(gzip.compress(f"{line}\n".encode()) for line in LINES))
    (day / "_engagements.jsonl.gz.manifest.json").write_text('{"version": 1}')
    write_parquet(lines, parquet)
    return tmp_path


def test_the_sample_is_what_the_simulator_makes() -> None:
    assert SAMPLE.read_text(encoding="utf-8") == sample()


def test_the_engagement_on_the_page_is_one_of_the_sample() -> None:
    [shown] = re.findall(r"^```json\n(.*?)^```$", DATA, re.DOTALL | re.MULTILINE)
    exact = {"parse_int": str, "parse_float": str}
    assert json.loads(shown, **exact) in [json.loads(line, **exact) for line in LINES]


def test_every_field_is_explained_and_has_columns(lake: Path) -> None:
    fields = fields_in_contract()
    assert set(re.findall(r"^\| `([\w.\[\]]+)` \|", DATA, re.MULTILINE)) == fields
    assert fields_in_columns(columns_of("Athena")) == fields
    names = {field.partition("[")[0] for field in fields}
    assert {column.name for column in columns_of("Redshift")} == names
    parquet = duckdb.sql(f"FROM '{lake}/parquet/**/*.parquet'")
    assert {*parquet.columns} - {"date"} == names
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(parquet.columns, parquet.types, strict=True))
    table = sqlglot.parse_one(f"CREATE TABLE parquet ({columns})", read="duckdb")
    assert fields_in_columns(table.this.expressions) - {"date"} == fields


def test_the_duckdb_statements_run_on_the_sample(lake: Path) -> None:
    results = []
    with duckdb.connect() as connection:
        for sql in blocks("DuckDB") + blocks("Parquet"):
            for statement in connection.extract_statements(sql):
                if NEEDS_S3 not in statement.query:
                    result = connection.execute(statement.query.replace("s3://my-lake", str(lake)))
                    results.append(result.fetchall())
        rows = connection.execute("SELECT count(*), count(start_time), any_value(date) FROM engagements").fetchone()
    assert rows == (len(RECORDS), len(RECORDS), DAY.date())
    _, by_channel, notes, agents, queues, serials, days = results
    assert sum(engagements for *_, engagements, _ in by_channel) == len(RECORDS)
    for rows, name in ((notes, "notes"), (agents, "agents"), (queues, "queues")):
        assert len(rows) == sum(len(record[name]) for record in RECORDS) > 0
    assert (RECORDS[0]["engagement_id"], str(RECORDS[0]["serial_2026"])) in serials
    assert days == [(DAY.date(), len(RECORDS))]


def test_the_readme_shows_a_record_of_the_sample_and_its_query_runs_on_it(lake: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    shown, query = (
        re.findall(rf"^```{kind}\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE) for kind in ("json", "sql")
    )
    fields = json.loads(*shown)
    [record] = [record for record in RECORDS if record["engagement_id"] == fields["engagement_id"]]
    assert all(str(value).strip("[{}]") in str(record[name]) for name, value in fields.items())
    rows = duckdb.sql(query[0].replace("s3://my-lake", str(lake))).fetchall()
    assert sum(engagements for *_, engagements in rows) == len(RECORDS)


@pytest.mark.parametrize("name", ["triggering_asset_events", "triggering_dataset_events"])
def test_only_what_has_changed_is_written_as_parquet(name: str) -> None:
    extras: list[dict[str, Any]] = [
        {"uri": "s3://lake/b", "changed": True},
        {"uri": "s3://lake/a", "changed": True},
        {"uri": "s3://lake/b", "changed": True},
        {"uri": "s3://lake/same", "changed": False},
        {},
    ]
    events = {"zoom_engagements": [SimpleNamespace(extra=extra) for extra in extras]}
    assert changed_objects.function(**{name: events}) == ["s3://lake/a", "s3://lake/b"]
    assert changed_objects.function(params={"uri": None}) == []


def test_parquet_holds_what_the_lines_hold(lake: Path) -> None:
    rows = duckdb.sql(f"SELECT engagement_id, duration, notes FROM '{lake}/parquet/**/*.parquet'").fetchall()
    for record, (engagement_id, duration, notes) in zip(RECORDS, rows, strict=True):
        assert (engagement_id, duration) == (record["engagement_id"], record["duration"])
        assert [note["note"] for note in notes] == [note["note"] for note in record["notes"]]


def test_the_athena_views_translated_for_duckdb_run_on_the_sample() -> None:
    table, *statements = parsed("Athena")
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE VIEW {table.this.this.name} AS SELECT *, '{DAY:%Y-%m-%d}' AS date FROM read_json('{SAMPLE}')"
        )
        *_, by_queue = [connection.execute(one.sql("duckdb")).fetchall() for one in statements]
        for name in ("notes", "agents", "queues"):
            rows = connection.execute(f"FROM zoom_{name}").fetchall()
            assert len(rows) == sum(len(record[name]) for record in RECORDS)
    assert {name for name, *_ in by_queue} == {queue["queue_name"] for record in RECORDS for queue in record["queues"]}


@pytest.mark.parametrize("section", ["Athena", "Snowflake", "Redshift"])
def test_every_other_statement_is_one_of_its_dialect(section: str) -> None:
    statements = parsed(section)
    assert len(statements) >= 5
    # What the parser does not know, it keeps as a command.
    assert [one for one in statements if one is None or isinstance(one, exp.Command)] == []


def test_the_plan_is_what_the_check_computes() -> None:
    assert RESULTS.read_text().partition("\n\n<!-- measured -->")[0] == "\n".join(requests_table())
