"""A program with requests."""

import requests
import session

client = requests.Session()


def send(method, path, body, headers):
    answer = client.request(method, session.BASE + path, data=body, headers=headers, timeout=60)
    return answer.status_code, answer.content


session.run(send)
