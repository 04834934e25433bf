"""Clients as people write them in Python: two send a number and read once, one sends lines."""

import socket
import sys

address = sys.argv[1], int(sys.argv[2])


def ask(sock, n):
    sock.send(str(n).encode("ascii"))
    return sock.recv(100).decode("ascii").strip()


# Long requests, one after the other.
with socket.create_connection(address, timeout=30) as sock:
    print("long requests:", *[ask(sock, 30) for _ in range(3)])

# Short requests, as fast as they are answered.
with socket.create_connection(address, timeout=30) as sock:
    answers = [ask(sock, 1) for _ in range(1000)]
    print("short requests:", len(answers), "answers, all of them", *set(answers))

# Lines, all at once.
with socket.create_connection(address, timeout=30) as sock:
    sock.sendall(b"10\nten\n11\n")
    sock.shutdown(socket.SHUT_WR)
    with sock.makefile("r") as lines:
        print("lines:", *[line.split(":")[0].strip() for line in lines])
