"""A host of an MCP server: starts it, calls its tool and prints the text."""

import json
import subprocess
import sys

server = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def call(number, method, params):
    server.stdin.write(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())["result"]


call(1, "initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}})
name = call(2, "tools/list", {})["tools"][0]["name"]
print(call(3, "tools/call", {"name": name, "arguments": {}})["content"][0]["text"])
server.stdin.close()
sys.exit(server.wait())
