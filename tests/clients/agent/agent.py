"""An agent that does as it is told, a line of JSON each, and answers each with a line of JSON: it calls tools of
an MCP server, and tries ways around it. All that it receives it keeps in the file that RECEIVED names."""

import http.client
import json
import os
import subprocess
import sys
import threading
import urllib.parse

import mcp_client
from sitecustomize import keep

server = mcp_client.Server(sys.argv[1], "nexudus", keep, list(os.environ))
held = []


def call(tool, arguments):
    text, failed = server.call(tool, arguments)
    return {"text": text, "failed": failed}


def begin(tool, arguments):
    """Begins a call, which `end` waits for."""
    answer = {}
    thread = threading.Thread(target=lambda: answer.update(call(tool, arguments)))
    thread.start()
    held.append((thread, answer))
    return {}


def end():
    thread, answer = held.pop()
    thread.join()
    return answer


def ask(url, method="GET", headers={}, body=None):
    """Sends a request without the server's help."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    target = parts.path + ("?" + parts.query if parts.query else "")
    try:
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return {"status": answer.status, "text": answer.read().decode(errors="replace")}
    except OSError as error:
        return {"status": 0, "text": str(error)}


def run(command, env={}):
    """Runs a command to its end."""
    told = subprocess.run(command, env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    keep(told.stdout + told.stderr)
    return {"code": told.returncode, "text": (told.stdout + told.stderr).decode(errors="replace")}


def read(path):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        return {"error": error.strerror}
    keep(data)
    return {"text": data.decode(errors="replace")}


steps = {"call": call, "begin": begin, "end": end, "ask": ask, "run": run, "read": read}
print(json.dumps({"tools": server.tools}), flush=True)
for line in sys.stdin:
    name, arguments = json.loads(line)
    print(json.dumps(steps[name](**arguments)), flush=True)
sys.exit(server.end())
