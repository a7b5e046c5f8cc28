"""What each kind of condition does, one table for each: a script of events and ticks, the runs and the refusals.

Events are written ``CODE@INSTANT``, a tick ``=INSTANT``, in seconds; a run ``INSTANT:PARTICIPANTS``. The watermark is 0
until a tick moves it.
"""

from __future__ import annotations

import pytest

from tests.core.keyed.machine import play, told

AND = "when: {all: [{event: a}, {event: b}], within: 10s}"
KEYED_AND = "key: '${event.payload.k}'\n" + AND

ALL = {
    "all fires when every leaf holds": (AND, "a@0 b@5", "5:a0+b5", ""),
    "all does not mind the order": (AND, "b@0 a@5", "5:b0+a5", ""),
    "the window includes its end": (AND, "a@0 b@10", "10:a0+b10", ""),
    "beyond the window nothing fires": (AND, "a@0 b@10.001 =30", "", "partial_expired:a0 partial_expired:b10.001"),
    "what comes at the last instant of the window is in time": (AND, "a@0 =10 b@10", "10:a0+b10", ""),
    "after the window the first is gone": (AND, "a@0 =10.001 b@10", "", "partial_expired:a0"),
    "grace keeps the window open longer": (AND + "\ngrace: 5s", "a@0 =15 b@10", "10:a0+b10", ""),
    "the latest takes part by default": (AND, "a@0 a@3 b@5", "5:a3+b5", "superseded:a0"),
    "an older one that comes later is no latest": (AND, "a@3 a@0 b@5", "5:a3+b5", "superseded:a0"),
    "ties in time are in order of arrival": (AND, "a@3{n:1} a@3{n:2} b@3", "3:a3+b3", "superseded:a3"),
    "the latest of another window stands beside it": (AND, "a@0 a@50 b@5", "5:a0+b5", ""),
    "keys do not meet": (KEYED_AND, "a@0{k:1} b@1{k:2} b@2{k:1}", "2:a0+b2", ""),
    "one event can satisfy two leaves": (
        "when: {all: [{event: a, filter: {x: 1}}, {event: a, filter: {y: 1}}], within: 10s}",
        "a@0{x:1,y:1}",
        "0:a0",
        "",
    ),
    "three leaves over three windows": (
        "when: {all: [{event: a}, {event: b}, {event: c}], within: 10s}",
        "a@0 b@6 c@12 a@13",
        "13:b6+c12+a13",
        "",
    ),
    "a plain and pairs one to one": (
        "when: {all: [{event: a}, {event: b}]}",
        "a@0 a@1 a@2 b@3 b@4",
        "3:a0+b3 4:a1+b4",
        "",
    ),
    "a plain and waits a week": (
        "when: {all: [{event: a}, {event: b}]}",
        "a@0 =604800 b@604800",
        "604800:a0+b604800",
        "",
    ),
    "a plain and waits no longer than its ttl": (
        "ttl: 1m\nwhen: {all: [{event: a}, {event: b}]}",
        "a@0 =60.001 b@60",
        "",
        "partial_expired:a0",
    ),
}

SELECT = {
    "first opens the window": (
        "when: {all: [{event: a, select: first}, {event: b}], within: 10s}",
        "a@0 a@3 b@5",
        "5:a0+b5",
        "superseded:a3",
    ),
    "each pairs in order": (
        "when: {all: [{event: a, select: each}, {event: b, select: each}], within: 10s}",
        "a@0 a@3 b@5 b@6",
        "5:a0+b5 6:a3+b6",
        "",
    ),
    "all takes everything in the window": (
        "when: {all: [{event: a, select: all}, {event: b}], within: 10s}",
        "a@0 a@3 a@-9 b@5",
        "5:a0+a3+b5",
        "",
    ),
    "what is reused takes part again": (
        "when: {all: [{event: a, reuse: true}, {event: b}], within: 10s}",
        "a@0 b@1 b@2 =30",
        "1:a0+b1 2:a0+b2",
        "",
    ),
    "what is reused does not fire without anything new": (
        "when: {all: [{event: a, reuse: true}, {event: b, reuse: true}], within: 10s}",
        "a@0 b@1 =5 a@6",
        "1:a0+b1 6:b1+a6",
        "",
    ),
}

NOT = {
    "what came first at the same instant does not end an absence": (
        "when: {missing: {event: b}, after: {event: a}, within: 10s}",
        "b@0 a@0 =10",
        "10:a0",
        "",
    ),
    "a veto is kept for what it can end": (
        "when: {missing: {event: b}, after: {event: a}, within: 10s}",
        "b@5 =12 a@4 =20",
        "",
        "vetoed:a4+b5",
    ),
    "a window that must stay empty includes its ends": (
        "when: {all: [{event: a}, {not: {event: b}}], within: 10s}",
        "a@0 b@10 a@20 b@20 =40",
        "",
        "vetoed:a0+b10 vetoed:a20+b20",
    ),
    "a veto on the past is kept for what comes late": (
        "ttl: 10s\nwhen: {all: [{event: a}, {not: {event: b}, last: 5s}]}",
        "b@0 =14 a@5",
        "",
        "vetoed:a5+b0",
    ),
    "what fires by itself is a veto too": (
        "when: {any: [{event: b}, {missing: {event: b}, after: {event: a}, within: 10s}]}",
        "b@5 a@0 =20",
        "5:b5",
        "vetoed:a0+b5",
    ),
    "of many vetoes those that matter are kept": (
        "when: {missing: {event: b}, after: {event: a}, within: 10s}",
        "b@0 b@5 b@10.001 a@-1 a@0 a@0.001 =9 =10 =11",
        "",
        "vetoed:a-1+b5 vetoed:a0+b5 vetoed:a0.001+b10.001",
    ),
    "absence fires at the end of its window": (
        "when: {missing: {event: b}, after: {event: a}, within: 10s}",
        "a@0 =10",
        "10:a0",
        "",
    ),
    "absence does not fire before the end": (
        "when: {missing: {event: b}, after: {event: a}, within: 10s}",
        "a@0 =9.999",
        "",
        "",
    ),
    "absence waits for the grace": (
        "grace: 5s\nwhen: {missing: {event: b}, after: {event: a}, within: 10s}",
        "a@0 =14.999 b@10",
        "",
        "vetoed:a0+b10",
    ),
    "what was awaited ends an absence": (
        "when: {missing: {event: b}, after: {event: a}, within: 10s}",
        "a@0 b@10 =20",
        "",
        "vetoed:a0+b10",
    ),
    "what came before does not end an absence": (
        "when: {missing: {event: b}, after: {event: a}, within: 10s}",
        "b@-1 a@0 =10",
        "10:a0",
        "",
    ),
    "what arrives first but is later ends an absence": (
        "when: {missing: {event: b}, after: {event: a}, within: 10s}",
        "b@5 a@0 =10",
        "",
        "vetoed:a0+b5",
    ),
    "every one arms an absence of its own": (
        "when: {missing: {event: b}, after: {event: a}, within: 10s}",
        "a@0 a@5 =10 b@12 =20",
        "10:a0",
        "vetoed:a5+b12",
    ),
    "a late start of an absence is refused": (
        "when: {missing: {event: b}, after: {event: a}, within: 10s}",
        "=20 a@0",
        "",
        "late:a0",
    ),
    "a and not b is the same": ("when: {all: [{event: a}, {not: {event: b}}], within: 10s}", "a@0 =10", "10:a0", ""),
    "not looks at the whole window from the first participant": (
        "when: {all: [{event: a}, {event: c}, {not: {event: b}}], within: 10s}",
        "a@0 c@3 =9 b@7 =10",
        "",
        "vetoed:a0+c3+b7",
    ),
    "not does not look before the first participant": (
        "when: {all: [{event: a}, {event: c}, {not: {event: b}}], within: 10s}",
        "b@-1 a@0 c@3 =10",
        "10:a0+c3",
        "",
    ),
    "a veto on the past is decided at once": (
        "when: {all: [{event: a}, {not: {event: b}, last: 5s}]}",
        "b@0 a@5 a@5.001",
        "5.001:a5.001",
        "vetoed:a5+b0",
    ),
    "not without a window is decided at once": (
        "when: {all: [{event: a}, {not: {event: b}}]}",
        "a@0 b@1 a@2",
        "0:a0",
        "vetoed:a2+b1",
    ),
    "of a veto any will do": (
        "when: {all: [{event: a}, {not: {any: [{event: b}, {event: c}]}}], within: 10s}",
        "a@0 c@5 =10",
        "",
        "vetoed:a0+c5",
    ),
    "of a composite veto all must happen": (
        "when: {all: [{event: a}, {not: {all: [{event: b}, {event: c}]}}], within: 10s}",
        "a@0 b@5 =10",
        "10:a0",
        "",
    ),
}

AFTER = {
    "a delay fires when it is over": ("when: {after: {event: a}, wait: 10s}", "a@0 a@1 =10 =11", "10:a0 11:a1", ""),
    "a delay that is over already fires at once": ("when: {after: {event: a}, wait: 10s}", "=20 a@0", "10:a0", ""),
    "a delay is called off": (
        "when: {after: {event: a}, wait: 10s, unless: {event: b}}",
        "a@0 b@1 =10",
        "",
        "vetoed:a0+b1",
    ),
    "a delay after two things counts from the later": (
        "when: {after: {all: [{event: a}, {event: b}], within: 5s}, wait: 10s}",
        "a@0 b@4 =13.999 =14",
        "14:a0+b4",
        "",
    ),
}

COUNT = {
    "three in ten seconds": ("when: {count: {event: a}, at_least: 3, within: 10s}", "a@0 a@5 a@10", "10:a0+a5+a10", ""),
    "three in more than ten seconds do not count": (
        "when: {count: {event: a}, at_least: 3, within: 10s}",
        "a@0 a@5 a@10.001",
        "",
        "",
    ),
    "the window slides": (
        "when: {count: {event: a}, at_least: 3, within: 10s}",
        "a@0 a@9 a@11 a@12",
        "12:a9+a11+a12",
        "",
    ),
    "what was counted is consumed": (
        "when: {count: {event: a}, at_least: 2, within: 10s}",
        "a@0 a@1 a@2 a@3",
        "1:a0+a1 3:a2+a3",
        "",
    ),
    "without consumption every further one fires": (
        "when: {count: {event: a}, at_least: 2, within: 10s, consume: none}",
        "a@0 a@1 a@2 a@20",
        "1:a0+a1 2:a0+a1+a2",
        "",
    ),
    "different values are counted": (
        "when: {count: {event: a}, at_least: 2, within: 10s, distinct: payload.u}",
        "a@0{u:1} a@1{u:1} a@2{u:2}",
        "2:a0+a1+a2",
        "",
    ),
    "without the value it does not count": (
        "when: {count: {event: a}, at_least: 1, within: 10s, distinct: payload.u}",
        "a@0{v:1}",
        "",
        "filter_failed:a0",
    ),
    "leaves are counted together": (
        "when: {count: {any: [{event: a}, {event: b}]}, at_least: 2, within: 10s}",
        "a@0 b@1",
        "1:a0+b1",
        "",
    ),
}

FAILED_THEN_IN = "when: {sequence: [{times: %s, of: {event: f}}, {event: s}], within: 10s}"

TIMES = {
    "three, then another": (FAILED_THEN_IN % "3", "f@0 f@1 s@2 f@3 s@4", "4:f0+f1+f3+s4", "superseded:s2"),
    "it begins with those that are still in the window": (
        FAILED_THEN_IN % "3",
        "f@0 f@5 f@6 f@7 s@11",
        "11:f5+f6+f7+s11",
        "superseded:f0",
    ),
    "of more than so often the earliest take part": (
        FAILED_THEN_IN % "2",
        "f@0 f@1 f@2 s@3",
        "3:f0+f1+s3",
        "superseded:f2",
    ),
    "as many as there are up to the most": (
        FAILED_THEN_IN % "[2, 3]",
        "f@0 f@1 f@2 f@3 s@4 f@5 f@6 s@7",
        "4:f0+f1+f2+s4 7:f5+f6+s7",
        "superseded:f3",
    ),
    "what comes after the next step is not taken": (
        FAILED_THEN_IN % "[1, 3]",
        "f@0 f@2 s@1",
        "1:f0+s1",
        "",
    ),
    "with each nothing is passed over": (
        "when: {sequence: [{times: 2, of: {event: f, select: each}}, {event: s}], within: 10s}",
        "f@0 f@1 f@2 f@3 s@4 s@5",
        "4:f0+f1+s4 5:f2+f3+s5",
        "",
    ),
    "what is reused is taken again": (
        "when: {sequence: [{times: 2, of: {event: f, reuse: true}}, {event: s}], within: 10s}",
        "f@0 f@1 s@2 s@3",
        "2:f0+f1+s2 3:f0+f1+s3",
        "",
    ),
    "at one instant the order is that of arrival": (
        FAILED_THEN_IN.replace("{event: s}", "{times: 2, of: {event: s}}") % "[1, 3]",
        "f@0{n:1} f@0{n:2} s@0{n:3} s@0{n:4}",
        "0:f0+f0+s0+s0",
        "",
    ),
    "all until": (
        "when: {one_or_more: {event: a}, until: {event: b}}",
        "b@0 a@1 a@2 b@3 b@4",
        "3:a1+a2+b3",
        "superseded:b0",
    ),
    "the last step fires with the first that is enough": (
        "when: {sequence: [{event: b}, {one_or_more: {event: a}}], within: 10s}",
        "a@0 b@1 a@2 a@3",
        "2:b1+a2",
        "superseded:a0",
    ),
    "two that are repeated": (
        "when: {sequence: [{one_or_more: {event: a}}, {times: 2, of: {event: b}}], within: 10s}",
        "a@0 a@1 b@2 a@3 b@4",
        "4:a0+a1+b2+b4",
        "superseded:a3",
    ),
    "in all": (
        "when: {all: [{times: 2, of: {event: a}}, {event: b}], within: 10s}",
        "a@0 b@5 a@11 b@12 a@12.5",
        "12.5:a11+b12+a12.5",
        "superseded:b5",
    ),
}
TIMES |= {
    "in all as many as there are": (
        "when: {all: [{times: [2, 3], of: {event: a}}, {event: b}], within: 10s}",
        "a@0 a@1 a@2 a@3 b@4",
        "4:a0+a1+a2+b4",
        "",
    ),
    "in all with a window that must stay empty they are all of the window": (
        "when: {all: [{one_or_more: {event: a}}, {not: {event: b}}], within: 10s}",
        "a@0 a@5 a@10 a@10.001 =10 b@30 =21",
        "10:a0+a5+a10 20.001:a10.001",
        "",
    ),
    "what is vetoed are all of them": (
        "when: {all: [{one_or_more: {event: a}}, {not: {event: b}}], within: 10s}",
        "a@0 a@5 b@7 =10",
        "",
        "vetoed:a0+a5+b7",
    ),
    "with a schedule they are all since the instant before": (
        "when: {all: [{cron: '* * * * *'}, {one_or_more: {event: a}}]}",
        "a@0 a@1 =40 a@50 =100",
        "40:a0+a1+2023-11-14T22:14:00Z 100:a50+2023-11-14T22:15:00Z",
        "",
    ),
    "in any the one that came to hold first": (
        "when: {sequence: [{any: [{times: [2, 9], of: {event: a}}, {event: c}]}, {event: b}], within: 10s}",
        "a@0 a@1 a@2 b@3",
        "3:a0+a1+a2+b3",
        "",
    ),
    "alone it fires each time": (
        "ttl: 10s\nwhen: {times: 2, of: {event: a}}",
        "a@0 a@1 a@2 =12.001 a@12.001 a@12.002 =30",
        "1:a0+a1 12.002:a12.001+a12.002",
        "partial_expired:a2",
    ),
    "a wait for it": ("when: {after: {times: 2, of: {event: a}}, wait: 5s}", "a@0 a@1 =6", "6:a0+a1", ""),
    "of two kinds together": (
        "when: {sequence: [{times: 3, of: {any: [{event: a}, {event: b}]}}, {event: s}], within: 10s}",
        "a@0 b@1 a@2 s@3",
        "3:a0+b1+a2+s3",
        "",
    ),
    "strict allows nothing between": (
        "when: {sequence: [{times: 2, of: {event: a}}, {event: b}], within: 10s, strict: true}",
        "a@0 b@1 a@2 a@3 b@4",
        "4:a2+a3+b4",
        "superseded:a0 superseded:b1",
    ),
    "strict takes no more than the most": (
        "when: {sequence: [{times: [1, 2], of: {event: a}}, {event: b}], within: 10s, strict: true}",
        "a@0 a@1 a@2 b@3",
        "3:a1+a2+b3",
        "superseded:a0",
    ),
    "strict leaves what the next step needs": (
        "when: {sequence: [{one_or_more: {event: a}}, {event: a, filter: {n: 1}}, {event: b}], strict: true}",
        "a@0 a@1 a@2{n:1} b@3",
        "3:a0+a1+a2+b3",
        "",
    ),
    "as a veto": (
        "when: {all: [{event: a}, {not: {times: 2, of: {event: b}}}], within: 10s}",
        "a@0 b@1 =10 a@20 b@21 b@22 =30",
        "10:a0",
        "vetoed:a20+b21+b22",
    ),
    "a count as a veto": (
        "when: {all: [{event: a}, {not: {count: {event: b}, at_least: 2}}], within: 10s}",
        "a@0 b@1 =10 a@20 b@21 b@22 =30",
        "10:a0",
        "vetoed:a20+b21+b22",
    ),
    "several things as a veto": (
        "when: {all: [{event: a}, {not: {all: [{event: b}, {event: c}], within: 5s}}], within: 10s}",
        "a@0 b@1 c@2 =10",
        "",
        "vetoed:a0+b1+c2",
    ),
    "a strict sequence as a veto": (
        "when: {all: [{event: a}, {not: {sequence: [{event: b}, {event: c}], strict: true}}], within: 10s}",
        "a@0 b@1 c@2 =10",
        "",
        "vetoed:a0+b1+c2",
    ),
}

AT_LEAST = {
    "two of three": (
        "when: {at_least: 2, of: [{event: a}, {event: b}, {event: c}], within: 10s}",
        "a@0 a@1 c@5",
        "5:a1+c5",
        "superseded:a0",
    ),
    "one of them twice is not two": (
        "when: {at_least: 2, of: [{event: a}, {event: b}], within: 10s}",
        "a@0 a@1 =30",
        "",
        "superseded:a0 partial_expired:a1",
    ),
}

SEQUENCE = {
    "a sequence fires in order": ("when: {sequence: [{event: a}, {event: b}], within: 10s}", "a@0 b@5", "5:a0+b5", ""),
    "a sequence does not fire out of order": (
        "when: {sequence: [{event: a}, {event: b}], within: 10s}",
        "b@0 a@5 =30",
        "",
        "partial_expired:b0+a5",
    ),
    "its order is that of the instants": (
        "when: {sequence: [{event: a}, {event: b}], within: 10s}",
        "b@5 a@0",
        "5:a0+b5",
        "",
    ),
    "at one instant its order is that of arrival": (
        "when: {sequence: [{event: a}, {event: b}], within: 10s}",
        "b@0 a@0 b@0{n:2}",
        "0:a0+b0",
        "superseded:b0",
    ),
    "others between are passed over": (
        "when: {sequence: [{event: a}, {event: b}, {event: c}], within: 10s}",
        "a@0 a@1 b@2 b@3 c@4 c@5",
        "4:a0+b2+c4",
        "superseded:a1 superseded:b3",
    ),
    "with each nothing is passed over": (
        "when: {sequence: [{event: a, select: each}, {event: b, select: each}], within: 10s}",
        "a@0 a@1 b@2 b@3",
        "2:a0+b2 3:a1+b3",
        "",
    ),
    "with latest the last before the next step takes part": (
        "when: {sequence: [{event: a, select: latest}, {event: b}], within: 10s}",
        "a@0 a@1 b@2",
        "2:a1+b2",
        "superseded:a0",
    ),
    "a later start is tried": (
        "when: {sequence: [{event: a}, {event: b}], within: 10s}",
        "a@0 a@5 b@12",
        "12:a5+b12",
        "superseded:a0",
    ),
    "strict allows nothing between": (
        "when: {sequence: [{event: a}, {event: b}, {event: c}], within: 10s, strict: true}",
        "a@0 b@1 b@2 c@3 a@4 b@5 c@6",
        "6:a4+b5+c6",
        "superseded:a0 superseded:b1 superseded:b2 superseded:c3",
    ),
    "the same event can be two steps": (
        "when: {sequence: [{event: a}, {event: a}, {event: b}], within: 10s}",
        "a@0 b@1 a@2 b@3",
        "3:a0+a2+b3",
        "superseded:b1",
    ),
}

WHERE = {
    "a later leaf reads an earlier one": (
        "when: {all: [{event: a, as: x}, {event: b, as: y, select: each}], within: 10s,"
        " where: [{left: '${y.payload.n}', gt: '${x.payload.n}'}]}",
        "a@0{n:5} b@1{n:4} b@2{n:6}",
        "2:a0+b2",
        "",
    ),
    "in a sequence what does not fit is passed over": (
        "when: {sequence: [{event: a, as: x}, {event: b, as: y}], within: 10s,"
        " where: [{left: '${y.payload.n}', eq: '${x.payload.n}'}]}",
        "a@0{n:5} b@1{n:4} a@2{n:4} b@3{n:4}",
        "3:a2+b3",
        "superseded:a0 superseded:b1",
    ),
    "what cannot be compared is struck": (
        "when: {all: [{event: a, as: x}, {event: b, as: y}], within: 10s,"
        " where: [{left: '${y.payload.n}', gt: '${x.payload.n}'}]}",
        "a@0{n:5} b@1{n:high} b@2{n:6}",
        "2:a0+b2",
        "filter_failed:b1",
    ),
}

BOTH_N = (
    "when: {all: [{event: a, as: x, select: %s}, {event: b, as: y, select: each}], within: 10s,"
    " where: [{left: '${x.payload.n}', eq: '${y.payload.n}'}]}"
)
WHERE |= {
    "what was chosen first is chosen again": (BOTH_N % "each", "a@0{n:1} a@1{n:2} b@2{n:2}", "2:a1+b2", ""),
    "of several that fit those of the earliest window": (
        BOTH_N % "each",
        "a@0{n:1} b@1{n:2} a@2{n:2} b@3{n:1}",
        "2:b1+a2 3:a0+b3",
        "",
    ),
    "the first that fits": (
        BOTH_N % "first",
        "a@0{n:1} a@1{n:2} a@2{n:2} a@3{n:3} b@4{n:2} b@5{n:1}",
        "4:a1+b4 5:a0+b5",
        "superseded:a2 superseded:a3",
    ),
    "the latest is the latest, whether it fits or not": (
        BOTH_N % "latest",
        "a@0{n:1} a@1{n:2} b@2{n:1} a@3{n:1}",
        "3:b2+a3",
        "superseded:a0 superseded:a1",
    ),
    "in three leaves": (
        "when: {all: [{event: a, as: x, select: each}, {event: b, as: y, select: each}, {event: c, as: z}], where: ["
        "{left: '${x.payload.n}', lt: '${y.payload.n}'}, {left: '${x.payload.n}', eq: '${z.payload.n}'}]}",
        "b@0{n:1} b@1{n:3} a@2{n:0} a@3{n:2} c@4{n:2}",
        "4:b1+a3+c4",
        "",
    ),
    "in an any": (
        "when: {all: [{any: [{event: a, as: x}, {event: c, as: z}]}, {event: b, as: y}], within: 10s, where: ["
        "{left: '${x.payload.n}', eq: '${y.payload.n}'}, {left: '${z.payload.n}', eq: '${y.payload.n}'}]}",
        "a@0{n:1} c@1{n:2} b@2{n:2}",
        "2:c1+b2",
        "",
    ),
    "what is reused fits with what is new": (
        "when: {all: [{event: a, as: x, select: each, reuse: true}, {event: b, as: y, select: each, reuse: true}],"
        " where: [{left: '${x.payload.n}', lt: '${y.payload.n}'}]}",
        "a@0{n:1} b@1{n:2} b@2{n:0} b@3{n:3} a@4{n:0}",
        "1:a0+b1 3:a0+b3 4:b1+a4",
        "",
    ),
    "steps in the middle are chosen again": (
        "when: {sequence: [{event: a}, {event: b, as: x}, {event: c, as: y}], within: 10s,"
        " where: [{left: '${x.payload.n}', eq: '${y.payload.n}'}]}",
        "a@0 b@1{n:1} b@2{n:2} c@3{n:2}",
        "3:a0+b2+c3",
        "superseded:b1",
    ),
    "what is repeated does not mind": (
        "when: {sequence: [{times: [1, 3], of: {event: a}}, {event: b, as: x}, {event: c, as: y}], within: 10s,"
        " where: [{left: '${x.payload.n}', eq: '${y.payload.n}'}]}",
        "a@0 b@1{n:1} a@2 b@3{n:2} c@4{n:2}",
        "4:a0+a2+b3+c4",
        "superseded:b1",
    ),
}

CHANGED = {
    "a change is an edge": ("when: {changed: payload.s, of: {event: a}}", "a@0{s:1} a@1{s:1} a@2{s:2}", "2:a2", ""),
    "the first value is none": ("when: {changed: payload.s, of: {event: a}, to: 1}", "a@0{s:1}", "", ""),
    "the first value is one if it is to be": (
        "when: {changed: payload.s, of: {event: a}, to: 1, initial: true}",
        "a@0{s:1}",
        "0:a0",
        "",
    ),
    "from and to": (
        "when: {changed: payload.s, of: {event: a}, from: {lt: 5}, to: {gte: 5}}",
        "a@0{s:1} a@1{s:4} a@2{s:7} a@3{s:8}",
        "2:a2",
        "",
    ),
    "true is not 1": ("when: {changed: payload.s, of: {event: a}}", "a@0{s:1} a@1{s:true}", "1:a1", ""),
    "what is older than the last value is late": (
        "when: {changed: payload.s, of: {event: a}}",
        "a@5{s:1} a@4{s:2} a@6{s:1}",
        "",
        "late:a4",
    ),
    "a missing value is no value": ("when: {changed: payload.s, of: {event: a}}", "a@0{t:1}", "", "filter_failed:a0"),
    "a change joins with others": (
        "when: {all: [{changed: payload.s, of: {event: a}, to: red}, {event: b}], within: 10s}",
        "a@0{s:green} a@1{s:red} b@2",
        "2:a1+b2",
        "",
    ),
}

SUM = "when: {aggregate: sum, value: payload.n, of: {event: a}, is: {gt: 10}, within: 10s%s}"

AGGREGATE = {
    "at the edge of the window": (SUM % "", "a@20{n:1} a@10{n:50}", "10:a10", ""),
    "a sum crosses its threshold once": (SUM % "", "a@0{n:6} a@1{n:6} a@2{n:6}", "1:a1", ""),
    "and again after it was below": (SUM % "", "a@0{n:11} a@20{n:1} a@21{n:11}", "0:a0 21:a21", ""),
    "its window includes both ends": (SUM % "", "a@0{n:6} a@10{n:6}", "10:a10", ""),
    "what is older does not count": (SUM % "", "a@0{n:6} a@10.001{n:6}", "", ""),
    "hysteresis": (
        SUM % ", clear: {lt: 3}",
        "a@0{n:11} a@11{n:4} a@12{n:9} a@30{n:1} a@31{n:12}",
        "0:a0 31:a31",
        "",
    ),
    "it must hold": (SUM % ", for: 5s", "a@0{n:11} =4.999 =5", "5:a0", ""),
    "it did not hold": (SUM % ", for: 5s", "a@0{n:11} a@5{n:-9} =5 a@6{n:11} =11", "11:a6", "vetoed:a0"),
    "average": (
        "when: {aggregate: avg, value: payload.n, of: {event: a}, is: {gte: 5}, within: 10s}",
        "a@0{n:1} a@1{n:9}",
        "1:a1",
        "",
    ),
    "least": (
        "when: {aggregate: min, value: payload.n, of: {event: a}, is: {gte: 5}, within: 10s}",
        "a@0{n:1} a@11{n:9}",
        "11:a11",
        "",
    ),
    "most": (
        "when: {aggregate: max, value: payload.n, of: {event: a}, is: {gte: 5}, within: 10s}",
        "a@0{n:1} a@1{n:9}",
        "1:a1",
        "",
    ),
    "different values": (
        "when: {aggregate: distinct, value: payload.n, of: {event: a}, is: {gte: 2}, within: 10s}",
        "a@0{n:x} a@1{n:x} a@2{n:y}",
        "2:a2",
        "",
    ),
    "no number": (SUM % "", "a@0{n:x}", "", "filter_failed:a0"),
    "older than the window": (SUM % "", "a@20{n:1} a@9{n:50}", "", "late:a9"),
}

# The tests begin at 22:13:20, so the minutes are full at 40, 100, 160 ...
SCHEDULE = {
    "what comes for an instant that is decided is late": (
        "when: {all: [{cron: '* * * * *'}, {event: a}]}",
        "a@0 =40 a@40 a@39 =100",
        "40:a0+2023-11-14T22:14:00Z",
        "late:a40 late:a39",
    ),
    "an instant makes one run of several": (
        "when: {all: [{cron: '* * * * *'}, {event: a}]}",
        "a@0 a@1 a@2 =40",
        "40:a2+2023-11-14T22:14:00Z",
        "superseded:a0 superseded:a1",
    ),
    "a schedule with a veto waits for the grace": (
        "grace: 5s\nwhen: {all: [{cron: '* * * * *'}, {not: {event: b}}]}",
        "=44 =45",
        "40:2023-11-14T22:14:00Z",
        "",
    ),
    "a schedule fires at its instants": (
        "when: {cron: '* * * * *'}",
        "=40 =100",
        "40:2023-11-14T22:14:00Z 100:2023-11-14T22:15:00Z",
        "",
    ),
    "its first look fires nothing": ("when: {cron: '* * * * *'}", "=39", "", ""),
    "of what was missed the latest fires": (
        "when: {cron: '* * * * *'}",
        "=170",
        "160:2023-11-14T22:16:00Z",
        "skipped:2023-11-14T22:15:00Z",
    ),
    "a schedule or an event": (
        "when: {any: [{cron: '* * * * *'}, {event: a}]}",
        "a@1 =40",
        "1:a1 40:2023-11-14T22:14:00Z",
        "",
    ),
    "a schedule if something was seen since its last instant": (
        "when: {all: [{cron: '* * * * *'}, {event: a}]}",
        "a@0 =40 =100 a@101 =160",
        "40:a0+2023-11-14T22:14:00Z 160:a101+2023-11-14T22:16:00Z",
        "",
    ),
    "what was seen at the instant is in time": (
        "when: {all: [{cron: '* * * * *'}, {event: a}]}",
        "a@40 =40",
        "40:2023-11-14T22:14:00Z+a40",
        "",
    ),
    "what was seen is not latched for ever": (
        "when: {all: [{cron: '* * * * *'}, {event: a}, {event: b}]}",
        "a@0 =41 b@50 =101",
        "",
        "partial_expired:a0 partial_expired:b50",
    ),
    "a schedule with events waits for the watermark": (
        "grace: 5s\nwhen: {all: [{cron: '* * * * *'}, {event: a}]}",
        "a@0 =44 =45",
        "40:a0+2023-11-14T22:14:00Z",
        "",
    ),
    "a schedule unless something was seen": (
        "when: {all: [{cron: '* * * * *'}, {not: {event: b}}]}",
        "=40 b@70 =100 =160",
        "40:2023-11-14T22:14:00Z 160:2023-11-14T22:16:00Z",
        "vetoed:2023-11-14T22:15:00Z+b70",
    ),
    "a schedule with an event unless something was seen": (
        "when: {all: [{cron: '* * * * *'}, {event: a}, {not: {event: b}}]}",
        "b@0 a@5 =40 a@50 =100",
        "100:a50+2023-11-14T22:15:00Z",
        "vetoed:a5+b0",
    ),
}

RESET = {
    "a veto is forgotten without a word": (
        "when: {missing: {event: b}, after: {event: a}, within: 10s}\nreset: {event: r}",
        "b@0 r@1 a@2 =12",
        "12:a2",
        "",
    ),
    "a leaf resets": (AND + "\nreset: [{event: r}]", "a@0 r@1 b@2 =30", "", "reset:a0 partial_expired:b2"),
    "what is from before a reset comes too late": (
        AND + "\nreset: {event: r}",
        "r@1 a@1 a@2 b@3",
        "3:a2+b3",
        "reset:a1",
    ),
    "a schedule resets": (
        AND + "\nreset: [{cron: '* * * * *'}]",
        "a@39 b@41 a@42",
        "42:b41+a42",
        "",
    ),
    "what is at the instant belongs to what was before": (
        AND + "\nreset: [{cron: '* * * * *'}]",
        "a@39 b@40",
        "40:a39+b40",
        "",
    ),
    "a run resets": (
        "when: {any: [{all: [{event: a}, {event: b}], within: 10s}, {event: c}]}\nreset: fire",
        "a@0 c@1 b@2 =30",
        "1:c1",
        "reset:a0 partial_expired:b2",
    ),
}

TREE = {
    "any takes what came to hold first": (
        "when: {all: [{any: [{event: a}, {event: b}]}, {event: c}], within: 10s}",
        "b@0 a@1 c@2 =30",
        "2:b0+c2",
        "partial_expired:a1",
    ),
    "a tree of groups": (
        "when: {all: [{any: [{event: a}, {event: b}]}, {all: [{event: c}, {event: d}], within: 2s}], within: 10s}",
        "b@0 c@1 d@5 c@6",
        "6:b0+d5+c6",
        "",
    ),
    "or fires for each": ("when: {any: [{event: a}, {after: {event: b}, wait: 5s}]}", "b@0 a@1 =5", "1:a1 5:b0", ""),
    "a sequence of groups": (
        "when: {sequence: [{count: {event: a}, at_least: 2}, {event: b}], within: 10s}",
        "a@0 b@1 a@2 b@3",
        "3:a0+a2+b3",
        "superseded:b1",
    ),
}

CASES = {
    name: case
    for table in (
        ALL,
        SELECT,
        NOT,
        AFTER,
        COUNT,
        TIMES,
        AT_LEAST,
        SEQUENCE,
        WHERE,
        CHANGED,
        AGGREGATE,
        SCHEDULE,
        RESET,
        TREE,
    )
    for name, case in table.items()
}


@pytest.mark.parametrize(("trigger", "script", "runs", "refusals"), CASES.values(), ids=CASES.keys())
def test_a_condition_does_what_it_says(trigger, script, runs, refusals):
    assert told(play(trigger, script)) == (runs, refusals)
