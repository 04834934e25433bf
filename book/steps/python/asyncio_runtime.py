"""Python's asyncio put to the conformance suite:

    conformance --command "python3 book/steps/python/asyncio_runtime.py"
"""
import asyncio
import sys
from concurrent.futures import ProcessPoolExecutor


async def countdown(n):
    while n > 0:
        print(n)
        await asyncio.sleep(0)
        n -= 1


async def nap(ms):
    await asyncio.sleep(ms / 1000)
    print(ms)
    return 2 * ms


async def keep_yielding(ms):
    napping = asyncio.create_task(nap(ms))
    loop = asyncio.get_running_loop()
    end = loop.time() + 10 * ms / 1000
    while loop.time() < end:
        await asyncio.sleep(0)
    await napping
    print("over")


def fib(n):
    return 1 if n <= 2 else fib(n - 1) + fib(n - 2)


def answer(line):
    try:
        n = int(line)
    except ValueError:
        return "error: a number, please"
    return str(fib(n)) if 1 <= n <= 45 else "error: a number from 1 to 45, please"


async def serve(pool):
    loop = asyncio.get_running_loop()

    async def handle(reader, writer):
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                text = line.decode(errors="replace")
                reply = await loop.run_in_executor(pool, answer, text) if pool else answer(text)
                writer.write(reply.encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}")
    await server.serve_forever()


async def main(scenario, numbers):
    if scenario == "countdown":
        await asyncio.gather(*map(countdown, numbers))
    elif scenario == "sleep":
        await asyncio.gather(*map(nap, numbers))
    elif scenario == "yield":
        await keep_yielding(numbers[0])
    elif scenario == "join":
        tasks = [asyncio.create_task(nap(ms)) for ms in numbers]
        for result in [await task for task in tasks]:
            print("joined", result)
    elif scenario in ("serve", "crowd"):
        await serve(None)
    elif scenario == "offload":
        await serve(ProcessPoolExecutor(2))
    else:
        sys.exit(64)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    asyncio.run(main(sys.argv[1], [int(word) for word in sys.argv[2:]]))
