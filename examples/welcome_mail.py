"""A welcome mail once per user: python examples/welcome_mail.py plays it on Kafka."""

from live import Ran, Stage, play

EXPECTED: Ran = [("mail.welcome", {"to": "ada@example.org"}), ("mail.welcome", {"to": "bob@example.org"})]


def story(stage: Stage) -> None:
    """Ada sends the form twice, and once more on the next day."""
    ada = {"user": 1, "address": "ada@example.org"}
    stage.send("user.registered", ada)
    stage.send("user.registered", ada)
    stage.send("user.registered", {"user": 2, "address": "bob@example.org"})
    stage.advance("1d")
    stage.send("user.registered", ada)


if __name__ == "__main__":
    play(__file__, story, EXPECTED, speed=86_400)
