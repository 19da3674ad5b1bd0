"""
How long Airflow takes to parse a Dag file that imports the operator, and one that imports another SaaS-to-S3 operator.

``make parse-time``. Each parse is Airflow's own (``DagBag``) in a new process that has imported what every Dag file
needs, in turn, in one run; the ratio of the medians counts.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

DAG = """
from airflow.sdk import DAG
from {module} import {operator}

with DAG("compared"):
    {operator}(task_id="to_s3", {arguments})
"""
OPERATORS = {
    "EngagementsToS3Operator": ("airflow_provider_zcc.transfers.engagements_to_s3", 's3_key="s3://lake/key"'),
    "SalesforceToS3Operator": (
        "airflow.providers.amazon.aws.transfers.salesforce_to_s3",
        'salesforce_query="select Id from Lead", s3_bucket_name="lake", s3_key="key", salesforce_conn_id="salesforce"',
    ),
}
PARSE = """
import sys, time
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

started = time.perf_counter()
bag = DagBag(sys.argv[1])
seconds = time.perf_counter() - started
assert not bag.import_errors, bag.import_errors
assert list(bag.dags) == ["compared"]
print(seconds)
"""


def parse(file: Path) -> float:
    """Return the seconds that a parse of a Dag file takes."""
    done = subprocess.run([sys.executable, "-c", PARSE, file], capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Parse each file in turn, and print the ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parse_time", description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {operator: [] for operator in OPERATORS}
    with tempfile.TemporaryDirectory() as folder:
        files = {operator: Path(folder, f"{operator}.py") for operator in OPERATORS}
        for operator, (module, given) in OPERATORS.items():
            files[operator].write_text(DAG.format(module=module, operator=operator, arguments=given))
            parse(files[operator])
        for _ in range(arguments.runs):
            for operator, file in files.items():
                seconds[operator].append(parse(file))
    medians = {operator: statistics.median(values) for operator, values in seconds.items()}
    for operator, values in seconds.items():
        print(f"{operator:24} {medians[operator]:.3f} s, the fastest of {arguments.runs} {min(values):.3f} s")
    ours, other = medians.values()
    print(f"ratio of the medians     {ours / other:.2f}")


if __name__ == "__main__":
    main()
