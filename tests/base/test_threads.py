import threading
import time

import pytest

from seamask.base.threads import AHEAD, Allowance, in_threads, once


def test_threads_keep_the_order_work_ahead_and_stop_when_nobody_wants_more():
    done = []

    def double(n):
        done.append(n)
        return 2 * n

    assert list(in_threads(double, range(2000))) == list(range(0, 4000, 2))
    done.clear()
    found = in_threads(double, range(10**9))  # items are not listed beforehand
    assert next(found) == 0
    found.close()
    before = len(done)
    time.sleep(0.05)
    assert len(done) == before <= AHEAD + 1


def test_a_failure_in_a_thread_ends_the_rest():
    done = []

    def fail(n):
        done.append(n)
        if n == 3:
            raise ValueError("three")
        return n

    with pytest.raises(ValueError, match="three"):
        list(in_threads(fail, range(10**9)))
    assert len(done) <= 2 * AHEAD


def test_threads_take_no_more_than_there_is():
    allowance, lock = Allowance(10), threading.Lock()
    taken, most = 0, 0

    def work(amount):
        nonlocal taken, most
        with allowance.take(amount):
            with lock:
                taken += min(amount, 10)
                most = max(most, taken)
            time.sleep(0.001)
            with lock:
                taken -= min(amount, 10)

    list(in_threads(work, [1, 4, 4, 30, 7, 0, 10] * 20, threads=8))  # 30: alone
    assert 5 < most <= 10
    with pytest.raises(ZeroDivisionError), allowance.take(10):
        _ = 1 / 0
    with allowance.take(10):  # it was given back
        pass


def test_a_property_is_computed_by_one_thread_for_all_of_an_object():
    computed = []

    class Thing:
        @once
        def value(self):
            computed.append(self)
            time.sleep(0.02)  # the others come meanwhile
            return object()

    a, b = Thing(), Thing()
    found = list(in_threads(lambda thing: thing.value, [a, b] * 4, threads=8))
    assert found == [a.value, b.value] * 4
    assert len(computed) == 2
