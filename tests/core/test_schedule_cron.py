"""Cron expressions: what is accepted, what each spelling means, and that croniter is told what is meant."""

from __future__ import annotations

from datetime import date
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_triggers.core.instant import instant_text, parse_instant
from stream_triggers.core.schedule import Cron, Schedule, after, between, parse_cron
from stream_triggers.core.schedule.cron import CronProblem, read_cron
from stream_triggers.errors import InvalidTrigger
from tests.core.schedule_oracle import named_in_utc


def refusal(written: object) -> str:
    with pytest.raises(InvalidTrigger) as refused:
        parse_cron(written, "cron")
    return str(refused.value)


def first(expression: str, count: int, *, from_: str = "2026-01-01T00:00Z") -> list[str]:
    """The first instants from an instant on, in UTC."""
    found = between(Schedule(parse_cron(expression, "cron")), parse_instant(from_, "") - 1, 2**53)
    return [instant_text(instant_ms) for instant_ms in islice(found, count)]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("* * * * *", "* * * * *"),
        ("  0   2 * * mon-fri ", "0 2 * * mon-fri"),
        ("0 0 LW * *", "0 0 LW * *"),
        ("@daily", "@daily"),
    ],
)
def test_a_cron_expression_is_kept_with_single_spaces(written, read):
    assert parse_cron(written, "cron") == Cron(read)


@pytest.mark.parametrize("written", [None, 5, ["* * * * *"]])
def test_a_cron_expression_is_text(written):
    assert refusal(written).startswith('cron: expected a cron expression such as "30 2 * * mon-fri", found ')


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("", "expected five fields, or six with seconds first, found 0"),
        ("* * * *", "expected five fields, or six with seconds first, found 4"),
        ("* * * * * * *", "expected five fields, or six with seconds first, found 7"),
        ("@reboot", "expected five fields, or six with seconds first, found 1"),
        ("@every 5m", "expected five fields, or six with seconds first, found 2"),
        ("60 * * * *", 'expected 0 to 59 in the minute field, found "60"'),
        ("60 * * * * *", 'expected 0 to 59 in the second field, found "60"'),
        ("* 24 * * *", 'expected 0 to 23 in the hour field, found "24"'),
        ("* * 0 * *", 'expected 1 to 31 in the day of month field, found "0"'),
        ("* * 5W * *", 'expected 1 to 31 in the day of month field, found "5w"'),
        ("* * L-2 * *", 'expected 1 to 31 in the day of month field, found "l"'),
        ("* * ? * *", 'expected 1 to 31 in the day of month field, found "?"'),
        ("* * * 13 *", 'expected 1 to 12 or jan to dec in the month field, found "13"'),
        ("* * * * 8", 'expected 0 to 7 or sun to sat in the weekday field, found "8"'),
        ("* * * * L5", 'expected 0 to 7 or sun to sat in the weekday field, found "l5"'),
        ("* * * * L", 'expected 0 to 7 or sun to sat in the weekday field, found "l"'),
        ("* * * * 1#6", 'expected 0 to 7 or sun to sat in the weekday field, found "1#6"'),
        ("*/0 * * * *", 'expected a step from 1 to 60 in the minute field, found "0"'),
        ("*/90 * * * *", 'expected a step from 1 to 60 in the minute field, found "90"'),
        ("1, * * * *", 'expected 0 to 59 in the minute field, found ""'),
        ("- * * * *", 'expected 0 to 59 in the minute field, found ""'),
        ("-5 * * * *", 'expected 0 to 59 in the minute field, found ""'),
        ("٣ * * * *", 'expected 0 to 59 in the minute field, found "٣"'),
        ("H * * * *", "hashed and random fields are not the same everywhere; to spread load, use jitter"),
        ("0 R(0-5) * * *", "hashed and random fields are not the same everywhere; to spread load, use jitter"),
        ("h/15 * * * *", "hashed and random fields are not the same everywhere; to spread load, use jitter"),
    ],
)
def test_a_cron_expression_that_means_nothing_is_refused_with_what_would(written, hint):
    assert refusal(written).endswith(f"\n  hint: {hint}")


@pytest.mark.parametrize("written", ["0 0 31 2 *", "0 0 30 feb *", "0 0 31 4,6,9,11 *"])
def test_a_cron_expression_that_never_comes_due_is_refused(written):
    assert refusal(written) == f'cron: expected a cron expression that comes due, found "{written}"'


@pytest.mark.parametrize(
    ("macro", "fields"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@Hourly", "0 * * * *"),
    ],
)
def test_row_a1_a_macro_stands_for_fields(macro, fields):
    assert read_cron(macro) == read_cron(fields)


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * 7-7", "0 0 * * sun"),
        ("0 0 * * 0-7", "0 0 * * 0-6"),
        ("0 0 * * 5-7", "0 0 * * fri,sat,sun"),
        ("0 0 * * sat-mon", "0 0 * * 0,1,6"),
        ("0 0 * * SUN", "0 0 * * 0"),
        ("0 22-2 * * *", "0 0,1,2,22,23 * * *"),
        ("0 22-2/2 * * *", "0 0,2,22 * * *"),
        ("0 0 1 nov-feb *", "0 0 1 11,12,1,2 *"),
        ("59/15 * * * *", "59 * * * *"),
        ("6/1 * * * *", "6-59 * * * *"),
        ("0 23/6 * * *", "0 23 * * *"),
        ("5-59/20 * * * *", "5,25,45 * * * *"),
        ("0 0 1 */5 *", "0 0 1 1,6,11 *"),
        ("0 * * * * *", "* * * * *"),
        ("30,10,30 * * * *", "10,30 * * * *"),
    ],
)
def test_row_a1_two_spellings_mean_the_same(expression, same):
    assert read_cron(expression).lines() == read_cron(same).lines()


@pytest.mark.parametrize(
    ("expression", "instants"),
    [
        ("59/15 * * * *", ["2026-01-01T00:59Z", "2026-01-01T01:59Z"]),
        ("15 30 9 * * *", ["2026-01-01T09:30:15Z", "2026-01-02T09:30:15Z"]),
        ("*/20 * * * * *", ["2026-01-01T00:00Z", "2026-01-01T00:00:20Z", "2026-01-01T00:00:40Z"]),
        ("0 0 L * *", ["2026-01-31T00:00Z", "2026-02-28T00:00Z", "2026-03-31T00:00Z"]),
        ("0 0 15,L * *", ["2026-01-15T00:00Z", "2026-01-31T00:00Z", "2026-02-15T00:00Z"]),
        ("0 0 LW * *", ["2026-01-30T00:00Z", "2026-02-27T00:00Z", "2026-03-31T00:00Z"]),
        ("0 0 * * 5#2", ["2026-01-09T00:00Z", "2026-02-13T00:00Z", "2026-03-13T00:00Z"]),
        ("0 0 * * fri#5", ["2026-01-30T00:00Z", "2026-05-29T00:00Z", "2026-07-31T00:00Z"]),
        ("0 0 * * 5L", ["2026-01-30T00:00Z", "2026-02-27T00:00Z", "2026-03-27T00:00Z"]),
        ("0 0 29 2 *", ["2028-02-29T00:00Z", "2032-02-29T00:00Z", "2036-02-29T00:00Z"]),
    ],
)
def test_row_a1_an_expression_names_these_instants(expression, instants):
    assert first(expression, len(instants)) == instants


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 0 1 * mon", [1, 5, 12, 19, 26]),
        ("0 0 1,15 * mon#1", [1, 5, 15]),
        ("0 0 13 * 5L", [13, 30]),
        ("0 0 LW * mon", [5, 12, 19, 26, 30]),
        ("0 0 L * 1", [5, 12, 19, 26, 31]),
        ("0 0 31 * mon#1,wed,5L", [5, 7, 14, 21, 28, 30, 31]),
    ],
)
def test_row_a1_with_day_of_month_and_weekday_either_counts(expression, days):
    assert first(expression, len(days)) == [f"2026-01-{day:02}T00:00Z" for day in days]


@pytest.mark.parametrize(
    ("expression", "days"), [("0 0 */2 * mon", [5, 19]), ("0 0 1-15 * */3", [3, 4, 7, 10, 11, 14])]
)
def test_row_a1_where_a_day_field_begins_with_a_star_both_count(expression, days):
    assert first(expression, len(days)) == [f"2026-01-{day:02}T00:00Z" for day in days]


@pytest.mark.parametrize(
    ("expression", "instants"),
    [
        ("0 0 1,31 * *", ["2026-03-01T00:00Z", "2026-03-31T00:00Z", "2026-04-01T00:00Z"]),
        ("0 0 31,L * *", ["2026-02-28T00:00Z", "2026-03-31T00:00Z", "2026-04-30T00:00Z"]),
        ("0 0 29,30,31 * *", ["2026-03-29T00:00Z", "2026-03-30T00:00Z", "2026-03-31T00:00Z", "2026-04-29T00:00Z"]),
    ],
)
def test_row_a1_days_that_february_lacks_do_not_hide_others(expression, instants):
    assert first(expression, len(instants), from_="2026-02-22T00:00Z") == instants


def test_after_the_last_year_there_is_nothing():
    schedule = Schedule(Cron("0 0 29 2 *"))
    assert after(schedule, parse_instant("2196-02-28T00:00Z", "")) == parse_instant("2196-02-29T00:00Z", "")
    assert after(schedule, parse_instant("2196-03-01T00:00Z", "")) is None


# Against the oracle


def fields(low: int, high: int, *special: str) -> st.SearchStrategy[str]:
    number = st.integers(low, high).map(str)
    span = st.tuples(number, number).map("-".join)
    step = st.integers(1, high - low + 1).map(str)
    item = st.one_of(
        number,
        number,
        span,
        st.tuples(number | span, step).map("/".join),
        *([st.sampled_from(special)] if special else []),
    )
    return st.just("*") | st.lists(item, min_size=1, max_size=3).map(",".join) | step.map(lambda text: f"*/{text}")


EXPRESSIONS = st.tuples(
    fields(0, 59),
    fields(0, 23),
    fields(1, 31, "L", "LW"),
    fields(1, 12, "jan", "jul-sep"),
    fields(0, 6, "sun", "mon-fri", "7", "5-7", "1#1", "thu#5", "5L", "0L"),
).map(" ".join)
DAYS = 800


@settings(deadline=None)
@given(EXPRESSIONS, st.dates(date(1990, 1, 1), date(2100, 1, 1)))
def test_row_a1_any_expression_names_what_the_oracle_says(expression, start):
    from_ms = parse_instant(f"{start}T00:00Z", "") - 1
    oracle = [int(time.timestamp() * 1000) for time in islice(named_in_utc(expression, start, DAYS), 40)]
    found = between(Schedule(Cron(expression)), from_ms, from_ms + DAYS * 86_400_000)
    assert list(islice(found, 40)) == oracle


TEXT = st.text(alphabet="0123456789*/,-#?LWHRmonjaftue()@ ", min_size=1, max_size=6)


@given(st.lists(TEXT, min_size=5, max_size=6).map(" ".join))
def test_any_text_is_read_or_refused(written):
    try:
        read_cron(written)
    except CronProblem:
        return
    assert read_cron(written).lines()
