"""A program with the standard library alone."""

import urllib.error
import urllib.request

import session


def send(method, path, body, headers):
    request = urllib.request.Request(session.BASE + path, data=body, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


session.run(send)
