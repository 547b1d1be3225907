"""Threads hand over what they return and what they raise."""

import threading

import pytest

from dnatune.threads import in_background, in_threads


def test_results_come_in_the_order_of_the_items():
    assert in_threads(lambda item: -item, range(50)) == [-item for item in range(50)]
    assert in_threads(str, []) == []


def test_several_items_are_worked_on_at_once():
    together = threading.Barrier(4, timeout=30)
    in_threads(lambda _: together.wait(), range(8))


def test_after_an_error_no_other_item_is_begun():
    begun = []

    def fail(item):
        begun.append(item)
        raise OSError(f"item {item}")

    with pytest.raises(OSError, match="item"):
        in_threads(fail, range(100))
    assert len(begun) <= 4


def test_the_error_of_a_thread_is_kept_until_it_is_asked_for():
    done = in_background(lambda: 1 / 0)
    assert isinstance(done.exception(timeout=30), ZeroDivisionError)
