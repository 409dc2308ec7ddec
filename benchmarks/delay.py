"""A TCP relay that delays both directions, where the kernel has no netem: python -m benchmarks.delay PORT HOST PORT MS.

It holds nothing back beyond the delay and limits no rate. The TCP handshake itself is not delayed.
"""

from __future__ import annotations

import asyncio
import sys


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """What comes in goes out after the delay, in order."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def send() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.close()

    sending = asyncio.create_task(send())
    try:
        while data := await reader.read(65536):
            waiting.put_nowait((loop.time() + seconds, data))
    except ConnectionError:
        pass
    waiting.put_nowait((loop.time() + seconds, b""))
    await asyncio.gather(sending, return_exceptions=True)


async def serve(port: int, to_host: str, to_port: int, round_trip: float) -> None:
    """Relay connections to 127.0.0.1:PORT until cancelled; `round_trip` in seconds."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(to_host, to_port)
        half = round_trip / 2
        await asyncio.gather(_relay(reader, far_writer, half), _relay(far_reader, writer, half))

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]) / 1000))
    except KeyboardInterrupt:
        pass
