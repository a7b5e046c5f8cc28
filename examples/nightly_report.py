"""A nightly report after all five extracts: python examples/nightly_report.py plays it on Kafka."""

from live import Ran, Stage, play

EXTRACTS = ("customers", "orders", "payments", "returns", "stock")
EXPECTED: Ran = [
    ("report.build", {"night": "Monday", "files": [f"Monday/{name}.csv" for name in EXTRACTS]}),
    ("oncall.page", {"text": "no report for Tuesday: not all extracts have come"}),
]


def story(stage: Stage) -> None:
    """On Monday all extracts return, in any order; on Tuesday one does not."""
    for name in reversed(EXTRACTS):
        stage.result(f"extract.{name}", {"file": f"Monday/{name}.csv"}, arguments={"night": "Monday"})
    for name in EXTRACTS[:4]:
        stage.result(f"extract.{name}", {"file": f"Tuesday/{name}.csv"}, arguments={"night": "Tuesday"})
    stage.advance("7h")


if __name__ == "__main__":
    play(__file__, story, EXPECTED, speed=7200)
