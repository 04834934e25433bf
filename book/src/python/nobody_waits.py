"""A peer is gone, and nobody waits for the socket. How often is it reported in 0.1 s?"""

import select
import socket
import time

WAYS = [
    ("EPOLLIN", select.EPOLLIN),
    ("nothing", 0),
    ("EPOLLIN, edges", select.EPOLLIN | select.EPOLLET),
]

for what, flags in WAYS:
    here, there = socket.socketpair()
    epoll = select.epoll()
    epoll.register(here, flags)
    there.close()
    reports = 0
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        reports += len(epoll.poll(timeout=0.01))
    print(f"asked for {what:14} {reports:7} reports")
