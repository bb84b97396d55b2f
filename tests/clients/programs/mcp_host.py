"""A host of MCP: starts the server of a configuration, calls its tools as the other programs call the API, and
prints the same line."""

import json
import sys

import mcp_client

server = mcp_client.Server(sys.argv[1], "nexudus")


def call(tool, **arguments):
    text, failed = server.call(tool, arguments)
    assert not failed, text
    return text


visitors = {"entity": "spaces/visitors"}
counts = [len(json.loads(call("list_records", **visitors, page=page, size=2))["Records"]) for page in (1, 2)]
created = json.loads(call("create_record", **visitors, record={"FullName": "Grace"}))
deleted = json.loads(call("delete_record", **visitors, id=created["Value"]["Id"]))
uploaded = json.loads(call("upload", path="/api/echo", length=300_000))
length = call("download", path=f"/ContentDownload/x?bytes={sys.argv[2]}")
error, failed = server.call("get_record", {**visitors, "id": 999_999})
assert failed, error
status = [word for word in error.split() if word.isdigit()][0]
print(*counts, created["Status"], deleted["Status"], uploaded["arrived"], length, status)
sys.exit(server.end())
