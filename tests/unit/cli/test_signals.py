"""Names and numbers of signals."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaa.container.signals import parse
from kaa.errors import UsageError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9), ("09", 9), ("0", 0), ("64", 64), ("KILL", 9), ("SIGKILL", 9), ("kill", 9),
        ("sigKill", 9), ("TERM", 15), ("WINCH", 28), ("IOT", 6), ("CLD", 17), ("POLL", 29),
        ("RTMIN", 34), ("SIGRTMIN+3", 37), ("rtmin+30", 64), ("RTMAX", 64), ("RTMAX-1", 63),
        ("RTMAX-30", 34),
    ],
)  # fmt: skip
def test_known(text: str, number: int) -> None:
    assert parse(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "FOO", "SIG", "SIGSIGKILL", "65", "-9", "+9", "9 ", "1e1", "²", "ſIGKILL", "RTMIN+31",
     "RTMAX-31", "RTMIN-1", "RTMIN+", "RTMIN+-1", "99999999999999999999"],
)  # fmt: skip
def test_unknown(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert str(caught.value) == f'unknown signal "{text}"'


def test_the_names_are_those_of_this_machine() -> None:
    for one in signal.Signals:
        assert parse(one.name) == one.value


@given(st.text(max_size=12))
def test_any_text_is_a_signal_or_not(text: str) -> None:
    try:
        number = parse(text)
    except UsageError:
        return
    assert 0 <= number <= 64
