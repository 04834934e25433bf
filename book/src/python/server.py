"""The server that serves one client at a time."""

import socket

from fib import fib


def fib_server(address):
    listener = socket.create_server(address)
    while True:
        client, _ = listener.accept()  # blocks
        fib_handler(client)


def fib_handler(client):
    with client:
        while request := client.recv(100):  # blocks
            answer = f"{fib(int(request))}\n"
            client.sendall(answer.encode())  # blocks


if __name__ == "__main__":
    fib_server(("", 25000))
