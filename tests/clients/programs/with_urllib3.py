"""A program with urllib3 alone, which knows no proxy of its environment."""

import session
import urllib3

client = urllib3.PoolManager()


def send(method, path, body, headers):
    answer = client.request(method, session.BASE + path, body=body, headers=headers)
    return answer.status, answer.data


session.run(send)
