"""One client asks twice and leaves; then another asks once."""

import socket
import sys
import time

host, port = sys.argv[1].split(":")
for numbers in [[1, 10], [20]]:
    client = socket.create_connection((host, int(port)))
    for n in numbers:
        time.sleep(0.2)  # The server is asleep again.
        client.sendall(b"%d\n" % n)
        client.recv(100)
    time.sleep(0.2)
    client.close()
    time.sleep(0.2)
