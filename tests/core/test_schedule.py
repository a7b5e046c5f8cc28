"""Cron expressions and time zones: what is accepted, in which spelling, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_triggers.core.schedule import parse_cron, parse_zone
from stream_triggers.errors import InvalidTrigger


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("* * * * *", "* * * * *"),
        ("  0   2 * * mon-fri ", "0 2 * * mon-fri"),
        ("0 0 29 2 *", "0 0 29 2 *"),
        ("0 0 L * *", "0 0 L * *"),
        ("0 0 * * thu#2", "0 0 * * thu#2"),
        ("@daily", "@daily"),
        ("@hourly", "@hourly"),
    ],
)
def test_a_cron_expression_is_kept_with_single_spaces(written, read):
    assert parse_cron(written, "cron") == read


@pytest.mark.parametrize(
    "written",
    ["", "* * * *", "* * * * * *", "* * * * * * *", "H * * * *", "r * * * *", "0 R(0-5) * * *", None, 5, ["* * * * *"]],
)
def test_a_cron_expression_has_five_fields_that_mean_the_same_everywhere(written):
    with pytest.raises(InvalidTrigger, match="cron: expected a cron expression of five fields"):
        parse_cron(written, "cron")


@pytest.mark.parametrize("written", ["61 * * * *", "* 25 * * *", "a b c d e", "@reboot", "@every 5m", "*/0 * * * *"])
def test_a_cron_expression_that_means_nothing_is_refused(written):
    with pytest.raises(InvalidTrigger, match="cron: expected a cron expression"):
        parse_cron(written, "cron")


@pytest.mark.parametrize("written", ["0 0 31 2 *", "0 0 30 feb *"])
def test_a_cron_expression_that_never_comes_due_is_refused(written):
    with pytest.raises(InvalidTrigger, match="cron: expected a cron expression that comes due, found"):
        parse_cron(written, "cron")


FIELD = st.text(alphabet="0123456789*/,-#?LWHRmonjaftue()@ ", min_size=1, max_size=6)


@given(st.lists(FIELD, min_size=5, max_size=5).map(" ".join))
def test_any_text_is_either_refused_or_keeps_its_meaning_when_read_again(written):
    try:
        read = parse_cron(written, "cron")
    except InvalidTrigger:
        return
    assert parse_cron(read, "cron") == read


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Australia/Lord_Howe"])
def test_a_zone_is_a_name_of_the_database(zone):
    assert parse_zone(zone, "zone") == zone


@pytest.mark.parametrize("zone", ["", "Mars", "Europe", "../UTC", "/UTC", "UTC\0", None, 5])
def test_what_is_no_zone_is_refused(zone):
    with pytest.raises(InvalidTrigger, match='zone: expected the name of a time zone, such as "Europe/Berlin", found'):
        parse_zone(zone, "zone")
