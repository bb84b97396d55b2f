"""The client's half of MCP over stdio, on the plain standard library: what an MCP host does with one server.

A host starts a server from a configuration like that of Claude Desktop, with the few variables that hosts hand
on and those of the configuration.
"""

import json
import os
import subprocess

INHERITED = ["HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "USER"]


class Server:
    """One server of a configuration; `received` is told all bytes that the server sends. Some hosts hand their
    whole environment on: `inherited`."""

    def __init__(self, configuration, name, received=lambda data: None, inherited=INHERITED):
        with open(configuration, encoding="utf-8") as file:
            chosen = json.load(file)["mcpServers"][name]
        environment = {name: os.environ[name] for name in inherited if name in os.environ}
        environment.update(chosen.get("env", {}))
        command = [chosen["command"], *chosen.get("args", [])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.received = received
        self.count = 0
        about = {"name": "host", "version": "1"}
        self.ask("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": about})
        self.send({"method": "notifications/initialized"})
        self.tools = [tool["name"] for tool in self.ask("tools/list", {})["tools"]]

    def send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.count += 1
        self.send({"id": self.count, "method": method, "params": params})
        while True:
            line = self.process.stdout.readline()
            self.received(line)
            if not line:
                raise EOFError(f"the server ended at {method}")
            answer = json.loads(line)
            if answer.get("id") == self.count:
                return answer["result"]

    def call(self, tool, arguments):
        """Returns the text of a tool's result, and whether the call failed."""
        result = self.ask("tools/call", {"name": tool, "arguments": arguments})
        return "".join(part["text"] for part in result["content"]), result.get("isError", False)

    def end(self):
        self.process.stdin.close()
        return self.process.wait()
