"""What is taken for a transaction that was ended for certain, from the lines that the client library logs."""

from __future__ import annotations

import logging

import pytest

from stream_triggers.runtime.kafka.endings import Endings

DEBUG, INFO, CRITICAL = logging.DEBUG, logging.INFO, logging.CRITICAL
FORM = "%s [%s] %s"
ENDED = ("ENDTXN", "EndTxn returned NO_ERROR in state CommittingTransaction (may_retry=true)")
NOT_NEEDED = ("TXNABORT", "No partitions registered: not sending EndTxn")
BROKEN = ("FAIL", "TxnCoordinator: Disconnected: connection closed by peer (after 71ms in state UP) (_TRANSPORT)")
REFUSED = ("ENDTXN", "EndTxn returned CONCURRENT_TRANSACTIONS in state CommittingTransaction (may_retry=true)")
CLOSED = ("FAIL", "127.0.0.1:9092/bootstrap: Decommissioning this broker (after 1ms in state UP) (_DESTROY_BROKER)")
NOT_UP = ("FAIL", "127.0.0.1:9092/1: Connect to ipv4#127.0.0.1:9092 failed (after 0ms in state CONNECT) (_TRANSPORT)")


def endings(**settings: str) -> Endings:
    return Endings({"logger": logging.getLogger("endings"), "log_level": "2", **settings})


@pytest.mark.parametrize(
    ("lines", "certain"),
    [
        ([ENDED], True),
        ([NOT_NEEDED], True),
        ([REFUSED, ENDED], True),
        ([CLOSED, NOT_UP, ENDED], True),
        ([BROKEN, ENDED], False),
        ([ENDED, BROKEN], False),
        ([REFUSED], False),
        ([], False),
    ],
)
def test_a_transaction_was_ended_for_certain_when_brokers_said_so_and_no_connection_broke(
    lines: list[tuple[str, str]], certain: bool
) -> None:
    heard = endings()
    heard.begin()
    for topic, text in lines:
        heard.log(DEBUG, FORM, topic, "rdkafka#producer-1", f"[thrd:main]: {text}")
    assert heard.certain is certain


def test_what_was_heard_of_one_transaction_says_nothing_of_the_next() -> None:
    heard = endings()
    heard.log(DEBUG, FORM, ENDED[0], "rdkafka#producer-1", ENDED[1])
    heard.begin()
    assert not heard.certain


def test_the_library_is_asked_to_log_what_is_needed_beside_what_the_settings_ask_for() -> None:
    chosen = {"logger": logging.getLogger("endings"), "log_level": "2", "debug": "fetch"}
    Endings(chosen)
    assert (chosen["debug"], chosen["log_level"]) == ("fetch,eos,broker", "7")


@pytest.mark.parametrize(
    ("settings", "passed_on"),
    [({}, [CRITICAL]), ({"log_level": "6"}, [INFO, CRITICAL]), ({"debug": "msg"}, [DEBUG, INFO, CRITICAL])],
)
def test_only_what_the_settings_ask_for_is_passed_on(
    caplog: pytest.LogCaptureFixture, settings: dict[str, str], passed_on: list[int]
) -> None:
    heard = endings(**settings)
    with caplog.at_level(DEBUG, "endings"):
        for level in (DEBUG, INFO, CRITICAL):
            heard.log(level, FORM, "ANY", "rdkafka#producer-1", "text")
    assert [record.levelno for record in caplog.records] == passed_on


@pytest.mark.parametrize(("settings", "passed_on"), [({}, ["ANY"]), ({"debug": "msg"}, ["TXNERR", "FATAL", "ANY"])])
def test_what_is_fatal_is_left_to_the_error_that_is_raised_of_it(
    caplog: pytest.LogCaptureFixture, settings: dict[str, str], passed_on: list[str]
) -> None:
    heard = endings(**settings)
    with caplog.at_level(DEBUG, "endings"):
        for topic in ("TXNERR", "FATAL", "ANY"):
            heard.log(CRITICAL, FORM, topic, "rdkafka#producer-1", "fenced by a newer instance")
    assert [record.getMessage().split()[0] for record in caplog.records] == passed_on
