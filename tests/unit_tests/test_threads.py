"""Threads that can be left behind, used again and again."""

import os
import subprocess
import sys
import threading
import time

import pytest

from langchain_moa._runtime import threads
from langchain_moa._runtime.threads import run_in_thread


def worker_of(job=lambda: None):
    """Run a job, and return the thread that ran it once it is idle again."""
    ran = []
    done = threading.Event()
    run_in_thread(lambda: (job(), ran.append(threading.current_thread()), done.set()))
    assert done.wait(30)
    while not threads._idle:  # the thread is about to say so
        pass
    return ran[0]


def test_an_idle_thread_is_used_again(monkeypatch):
    monkeypatch.setattr(threads, "_KEPT_SECONDS", 60)
    monkeypatch.setattr(threads, "_idle", [])
    assert worker_of() is worker_of()


def test_jobs_at_the_same_time_have_threads_of_their_own():
    together = threading.Barrier(8, timeout=60)
    done = threading.Barrier(9, timeout=60)
    for _ in range(8):
        run_in_thread(lambda: (together.wait(), done.wait()))
    done.wait()


def test_a_thread_that_stays_idle_ends(monkeypatch):
    monkeypatch.setattr(threads, "_idle", [])
    thread = worker_of()
    thread.join(30)
    assert not thread.is_alive()
    while threads._idle:  # threads of the tests before, which end as well
        time.sleep(0.01)


def test_nothing_of_a_job_is_held_by_an_idle_thread(monkeypatch):
    monkeypatch.setattr(threads, "_KEPT_SECONDS", 60)
    monkeypatch.setattr(threads, "_idle", [])
    let_go = threading.Event()

    class Large:
        def __call__(self):
            pass

        def __del__(self):
            let_go.set()

    run_in_thread(Large())
    assert let_go.wait(30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own():
    code = """
import os, threading
from langchain_moa._runtime.threads import _idle, run_in_thread

def job_is_done():
    done = threading.Event()
    run_in_thread(done.set)
    return done.wait(30)

assert job_is_done()
while not _idle:
    pass
child = os.fork()
if child == 0:
    os._exit(0 if job_is_done() else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)
