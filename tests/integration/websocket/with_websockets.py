# Talks to an echo with the `websockets` package: text, bytes, much, pieces, a ping, and either end's
# farewell. Its first argument is where.

import asyncio
import sys

import websockets


async def main(url):
    async with websockets.connect(url, subprotocols=["chat"], max_size=None) as socket:
        assert socket.subprotocol == "chat", socket.subprotocol
        for message in ["héllo", bytes(range(256)), "x" * 1_000_000]:
            await socket.send(message)
            assert await socket.recv() == message, message[:20]
        await socket.send(["in ", "three ", "pieces"])
        assert await socket.recv() == "in three pieces"
        await (await socket.ping("are you there"))
        await socket.send("bye")
        try:
            raise SystemExit(f"the host said {await socket.recv()!r} and no farewell")
        except websockets.ConnectionClosed:
            assert socket.close_code in (1000, 1005), socket.close_code

    async with websockets.connect(url, subprotocols=["chat"]) as socket:
        await socket.close(1000, "enough")
        assert socket.close_code in (1000, 1005), socket.close_code
    print("all of it")


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 60))
