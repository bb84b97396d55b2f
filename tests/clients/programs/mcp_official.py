"""An MCP server over stdio: logs in with e-mail and password, and offers the API as tools."""

import json
import sys

import requests
import session

client = requests.Session()


def send(method, path, body, headers):
    answer = client.request(method, session.BASE + path, data=body, headers=headers, timeout=60)
    return answer.status_code, answer.content


TOOLS = [{"name": "everything", "description": "Lists, creates and deletes.", "inputSchema": {"type": "object"}}]

for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    if request["method"] == "initialize":
        version = request["params"]["protocolVersion"]
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "test", "version": "1"}}
    elif request["method"] == "tools/list":
        result = {"tools": TOOLS}
    else:
        printed = []
        session.print = lambda *words: printed.append(" ".join(map(str, words)))
        session.run(send)
        result = {"content": [{"type": "text", "text": printed[0]}]}
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
