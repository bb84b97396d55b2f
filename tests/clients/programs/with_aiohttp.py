"""A program with aiohttp that reads the proxy from its environment."""

import asyncio

import aiohttp
import session


def send(method, path, body, headers):
    async def ask():
        async with aiohttp.ClientSession(trust_env=True) as client:
            async with client.request(method, session.BASE + path, data=body, headers=headers) as answer:
                return answer.status, await answer.read()

    return asyncio.run(ask())


session.run(send)
