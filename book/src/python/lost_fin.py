"""A peer sends three bytes and closes. Who hears of the end?"""

import select
import socket


def receive_all(flags):
    here, there = socket.socketpair()
    epoll = select.epoll()
    epoll.register(here, flags)
    there.sendall(b"bye")
    there.close()
    drain = False
    while reports := epoll.poll(timeout=0.2):
        # Only with EPOLLRDHUP: the other side has sent its last byte.
        drain |= any(report & select.EPOLLRDHUP for _, report in reports)
        while True:
            got = here.recv(4096)
            print("  recv:", got)
            if not got:
                print("  the end")
                return
            if not drain:
                break  # Fewer than 4096 bytes, so there is no more: back to the wait.
    print("  nothing is reported any more")


print("level-triggered:")
receive_all(select.EPOLLIN)
print("edge-triggered:")
receive_all(select.EPOLLIN | select.EPOLLET)
print("edge-triggered, and told of the end:")
receive_all(select.EPOLLIN | select.EPOLLET | select.EPOLLRDHUP)
