"""Countdowns that take turns: generators in a deque."""

from collections import deque


def countdown(n):
    while n > 0:
        yield n
        n -= 1


tasks = deque([countdown(10), countdown(5), countdown(20)])
shown = []
while tasks:
    task = tasks.popleft()
    try:
        shown.append(next(task))
        tasks.append(task)
    except StopIteration:
        pass
print(*shown)
