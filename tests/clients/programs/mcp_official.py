"""An MCP server in the style of the vendor's own: the address is in its source, it logs in with e-mail and
password."""

import os

import mcp_tools
import requests

BASE = "https://spaces.nexudus.com"
client = requests.Session()


def log_in():
    form = {"grant_type": "password", "username": os.environ["NEXUDUS_EMAIL"], "password": os.environ["NEXUDUS_PASSWORD"]}
    answer = client.post(BASE + "/api/token", data=form, timeout=60)
    answer.raise_for_status()
    client.headers["Authorization"] = "Bearer " + answer.json()["access_token"]


def ask(method, path, **more):
    if "Authorization" not in client.headers:
        log_in()
    return client.request(method, BASE + path, timeout=60, **more)


mcp_tools.serve("nexudus-official-style", ask)
