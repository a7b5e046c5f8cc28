"""The tasks that the demo's triggers run: what a task worker of your own would look like."""

from __future__ import annotations

from stream_triggers.consumer import TaskApp

app = TaskApp()


class PaymentError(Exception):
    """A payment did not go through."""


class CardDeclined(PaymentError):
    """The card's bank said no. A trigger on ``PaymentError`` hears of this, too."""


@app.task("fraud.check")
def check(order_id: str, total: int) -> dict[str, object]:
    """Approve nine orders of ten."""
    return {"order_id": order_id, "approved": total % 10 != 9}


@app.task("payment.charge")
def charge(order_id: str, amount: int) -> dict[str, object]:
    """Charge, unless the card is declined."""
    if amount % 10 == 5:
        raise CardDeclined(f"{amount} on the card of {order_id}")
    return {"order_id": order_id, "charged": amount}


@app.task("alert.raise")
def alert(text: str) -> None:
    """Somebody would be called here."""


@app.task("audit.record")
def audit(invocation: str, status: str) -> None:
    """A line would be written here."""
