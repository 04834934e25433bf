"""The same with a thread for each client."""

import socket
import threading

from server import fib_handler


def fib_server(address):
    listener = socket.create_server(address)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=fib_handler, args=(client,), daemon=True).start()


if __name__ == "__main__":
    fib_server(("", 25000))
