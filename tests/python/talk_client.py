"""A client as people write it first: send a number, read an answer, no line ends in sight."""

import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
sock = socket.create_connection((host, port), timeout=30)
answers = []
for _ in range(3):
    sock.send(b"30")
    answers.append(sock.recv(100).decode().strip())
sock.close()
print(*answers)
