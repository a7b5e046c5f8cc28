"""Three failures of one task within ten minutes: python examples/failing_task.py plays it on Kafka."""

from live import Ran, Stage, play

EXPECTED: Ran = [
    ("oncall.page", {"text": "billing.invoice keeps failing, last with TimeoutError: no answer from bank"})
]


def story(stage: Stage) -> None:
    """Two tasks fail twice; later one of them fails three times in a row, and then again."""
    for task in ("billing.invoice", "mail.send"):
        stage.failure(task, ConnectionError, "refused")
        stage.failure(task, ConnectionError, "refused")
    stage.advance("20m")
    stage.failure("mail.send", ConnectionError, "refused")
    for _ in range(3):
        stage.failure("billing.invoice", TimeoutError, "no answer from bank")
    stage.advance("5m")
    for _ in range(3):
        stage.failure("billing.invoice", TimeoutError, "still no answer")


if __name__ == "__main__":
    play(__file__, story, EXPECTED, speed=200)
