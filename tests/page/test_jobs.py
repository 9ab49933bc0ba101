"""Stop flags: one visitor's Stop ends one visitor's job."""

from __future__ import annotations

import threading

import pytest

from mscnn.page.jobs import Jobs


def test_stop_reaches_the_job_of_that_visitor_and_kind_only():
    jobs = Jobs()
    with (
        jobs.running("ann", "look") as ann,
        jobs.running("bob", "look") as bob,
        jobs.running("ann", "compare") as other,
    ):
        assert jobs.stop("ann", "look")
        assert (ann(), bob(), other()) == (True, False, False)


def test_stop_without_a_job_does_nothing_and_spares_the_next_one():
    jobs = Jobs()
    assert not jobs.stop("ann", "look")
    with jobs.running("ann", "look") as cancelled:
        assert not cancelled()


def test_a_new_job_ends_the_one_before_it():
    jobs = Jobs()
    with jobs.running("ann", "look") as first, jobs.running("ann", "look") as second:
        assert first()
        assert not second()
        jobs.stop("ann", "look")
        assert second()


def test_the_end_of_an_old_job_does_not_take_the_flag_of_the_new_one():
    jobs = Jobs()
    old = jobs.running("ann", "look")
    old.__enter__()
    with jobs.running("ann", "look") as new:
        old.__exit__(None, None, None)
        assert jobs.stop("ann", "look")
        assert new()


def test_nothing_is_kept_after_a_job_however_it_ends():
    jobs = Jobs()
    with pytest.raises(ValueError, match="broken"), jobs.running("ann", "look"):
        raise ValueError("broken")
    assert not jobs.stop("ann", "look")
    assert jobs._flags == {}


def test_stop_from_another_thread_is_seen():
    jobs, seen = Jobs(), threading.Event()
    started = threading.Event()

    def work() -> None:
        with jobs.running("ann", "look") as cancelled:
            started.set()
            for _ in range(10_000):
                if cancelled():
                    seen.set()
                    return
                threading.Event().wait(0.001)

    worker = threading.Thread(target=work)
    worker.start()
    assert started.wait(10)
    assert jobs.stop("ann", "look")
    worker.join(10)
    assert seen.is_set()
