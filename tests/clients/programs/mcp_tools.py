"""The tools that both MCP servers offer, over a client's `ask(method, path, **more)` → a response of requests.

Needs the official SDK (`mcp` of PyPI), which `scripts/prepare.sh` installs.
"""

import json
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError


def serve(name, ask):
    server = MCPServer(name, log_level="ERROR")

    def body(method, path, **more):
        answer = ask(method, path, **more)
        if not answer.ok:
            raise ToolError(f"{answer.status_code} {answer.text}")
        return answer

    @server.tool(description="Lists the records of an entity, such as spaces/coworkers, a page at a time.")
    def list_records(entity: str, page: int = 1, size: int = 25, filters: dict[str, Any] = {}) -> str:
        return body("GET", f"/api/{entity}", params={"page": page, "size": size, **filters}).text

    @server.tool(description="Returns one record.")
    def get_record(entity: str, id: int) -> str:
        return body("GET", f"/api/{entity}/{id}").text

    @server.tool(description="Creates a record.")
    def create_record(entity: str, record: dict[str, Any]) -> str:
        return body("POST", f"/api/{entity}", json=record).text

    @server.tool(description="Deletes a record.")
    def delete_record(entity: str, id: int) -> str:
        return body("DELETE", f"/api/{entity}/{id}").text

    @server.tool(description="Runs a command, such as COWORKER_DELETE, on some records.")
    def run_command(entity: str, key: str, ids: list[int]) -> str:
        return body("POST", f"/api/{entity}/runcommand", json={"Ids": ids, "Key": key}).text

    @server.tool(description="Uploads so many bytes, and says what arrived.")
    def upload(path: str, length: int) -> str:
        answer = body("PUT", path, data=b"x" * length, headers={"Content-Type": "application/octet-stream"})
        return json.dumps({"status": answer.status_code, "arrived": answer.json()["body_length"]})

    @server.tool(description="Downloads a file, and says how long it is.")
    def download(path: str) -> str:
        return str(sum(map(len, body("GET", path, stream=True).iter_content(1 << 20))))

    server.run("stdio")
