"""One workload in five styles: items that wait, and then compute."""

import asyncio
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

WAIT = 0.05
COMPUTE = 0.005


def compute():
    end = time.thread_time() + COMPUTE
    while time.thread_time() < end:
        pass


def wait_and_compute(data):
    time.sleep(WAIT)
    compute()
    return data


async def as_a_task(data):
    await asyncio.sleep(WAIT)
    compute()
    return data


async def as_a_task_with_offload(data):
    await asyncio.sleep(WAIT)
    await asyncio.to_thread(compute)
    return data


async def gather(tasks):
    return await asyncio.gather(*tasks)


def one_after_another(items):
    return [wait_and_compute(data) for data in items]


def threads(items):
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(wait_and_compute, items))


def processes(items):
    with ProcessPoolExecutor() as pool:
        return list(pool.map(wait_and_compute, items))


def tasks(items):
    return asyncio.run(gather(as_a_task(data) for data in items))


def tasks_with_offload(items):
    return asyncio.run(gather(as_a_task_with_offload(data) for data in items))


if __name__ == "__main__":
    items = [bytes(64 * 1024)] * 40
    for style in one_after_another, threads, processes, tasks, tasks_with_offload:
        start = time.perf_counter()
        assert style(items) == items
        print(f"{style.__name__:18} {time.perf_counter() - start:.2f} s")
