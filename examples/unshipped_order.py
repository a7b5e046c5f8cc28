"""An order that was paid and not shipped within two hours: python examples/unshipped_order.py plays it on Kafka."""

from live import Ran, Stage, play

EXPECTED: Ran = [("orders.remind", {"order": 7, "customer": "Ada"})]


def story(stage: Stage) -> None:
    """Two orders are paid, one of them is shipped in time."""
    stage.send("order.paid", {"order": 7, "customer": "Ada"})
    stage.send("order.paid", {"order": 8, "customer": "Bob"})
    stage.advance("1h")
    stage.send("order.shipped", {"order": 8})
    stage.advance("1h")


if __name__ == "__main__":
    play(__file__, story, EXPECTED, speed=1440)
