"""A program with httpx."""

import httpx
import session

client = httpx.Client(timeout=60)


def send(method, path, body, headers):
    answer = client.request(method, session.BASE + path, content=body, headers=headers)
    return answer.status_code, answer.content


session.run(send)
