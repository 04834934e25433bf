"""Two computations: one after the other, and in two threads."""

import threading
import time


def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def timed(what, run):
    start = time.perf_counter()
    run()
    print(f"{what:20} {time.perf_counter() - start:.2f} s")


def two_threads():
    threads = [threading.Thread(target=fib, args=(29,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


timed("one after the other", lambda: [fib(29), fib(29)])
timed("in two threads", two_threads)
