"""One descriptor is ready and the others are idle: what does one wait cost?"""

import select
import socket
import time

WAITS = 2000


def microseconds(wait):
    rounds = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(WAITS // 5):
            assert wait()
        rounds.append((time.perf_counter() - start) / (WAITS // 5) * 1e6)
    return min(rounds)


print("descriptors    select      poll     epoll  (us a wait)")
for count in [10, 100, 500]:
    pairs = [socket.socketpair() for _ in range(count)]
    fds = [here.fileno() for here, _ in pairs]
    poll, epoll = select.poll(), select.epoll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
        epoll.register(fd, select.EPOLLIN)
    pairs[0][1].send(b"!")
    by_select = microseconds(lambda: select.select(fds, [], [], 0)[0])
    by_poll = microseconds(lambda: poll.poll(0))
    by_epoll = microseconds(lambda: epoll.poll(0))
    print(f"{count:11} {by_select:9.1f} {by_poll:9.1f} {by_epoll:9.1f}")
    for pair in pairs:
        pair[0].close(), pair[1].close()
