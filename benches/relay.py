#!/usr/bin/env python3
"""A distance: passes TCP on to a local port, half a round trip late each way.

    benches/relay.py PORT TARGET_PORT ROUND_TRIP_MS

A new connection pays one round trip more, as a TCP handshake does.
"""

import asyncio
import contextlib
import socket
import sys


async def main(port, target, round_trip):
    async def accept(near_reader, near_writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        for writer in (near_writer, far_writer):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(
            carry(near_reader, far_writer, round_trip / 2, round_trip),
            carry(far_reader, near_writer, round_trip / 2, 0))

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    await server.serve_forever()


async def carry(reader, writer, delay, first):
    """Passes on what comes, each piece `delay` after it came; the very first one also `first`."""
    loop = asyncio.get_running_loop()
    pieces = asyncio.Queue()
    opened = loop.time() + first

    async def deliver():
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(due - loop.time())
            if not piece:
                with contextlib.suppress(OSError):
                    writer.close()
                return
            writer.write(piece)

    task = asyncio.create_task(deliver())
    piece = b"open"
    while piece:
        try:
            piece = await reader.read(1 << 16)
        except OSError:
            piece = b""
        pieces.put_nowait((max(loop.time(), opened) + delay, piece))
    await task


if __name__ == "__main__":
    port, target, milliseconds = map(float, sys.argv[1:])
    asyncio.run(main(int(port), int(target), milliseconds / 1000))
