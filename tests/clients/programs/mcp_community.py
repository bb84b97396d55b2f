"""An MCP server in the style of those that the community writes: it takes a base URL and a token."""

import os

import mcp_tools
import requests

BASE = os.environ["NEXUDUS_BASE_URL"].rstrip("/")
client = requests.Session()
client.headers["Authorization"] = "Bearer " + os.environ["NEXUDUS_ACCESS_TOKEN"]


def ask(method, path, **more):
    return client.request(method, BASE + path, timeout=60, **more)


mcp_tools.serve("nexudus-community-style", ask)
