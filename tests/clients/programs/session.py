"""What each Python program does, over a client's `send(method, path, body, headers)` → (status, bytes)."""

import json
import os
import sys

BASE = "https://spaces.nexudus.com"


def run(send):
    form = f"grant_type=password&username={os.environ['NEXUDUS_EMAIL']}&password={os.environ['NEXUDUS_PASSWORD']}"
    _, login = send("POST", "/api/token", form.encode(), {"Content-Type": "application/x-www-form-urlencoded"})
    headers = {"Authorization": "Bearer " + json.loads(login)["access_token"]}
    send_json = dict(headers, **{"Content-Type": "application/json"})
    pages = [send("GET", f"/api/spaces/visitors?page={n}&size=2", None, headers)[1] for n in (1, 2)]
    counts = [len(json.loads(page)["Records"]) for page in pages]
    created, answer = send("POST", "/api/spaces/visitors", b'{"FullName": "Grace"}', send_json)
    number = json.loads(answer)["Value"]["Id"]
    deleted, _ = send("DELETE", f"/api/spaces/visitors/{number}", None, headers)
    _, echo = send("PUT", "/api/echo", b"x" * 300_000, headers)
    _, file = send("GET", f"/ContentDownload/x?bytes={sys.argv[1]}", None, headers)
    error, _ = send("GET", "/api/spaces/visitors/999999", None, headers)
    print(*counts, created, deleted, json.loads(echo)["body_length"], len(file), error)
