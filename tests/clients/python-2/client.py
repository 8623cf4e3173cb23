"""client.py ERA TOOL URL | ERA TOOL COMMAND ARGUMENTS…: see ../session.py. ERA: legacy or auto."""

import asyncio
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from mcp import Client, MCPError, StdioServerParameters
from mcp.types import ElicitResult
from session import session


async def answer(context, params):
    return ElicitResult(action="accept", content={"name": "Ada"})


async def main():
    era, tool, target, *rest = sys.argv[1:]
    if target.startswith("http"):
        server = target
    else:
        server = StdioServerParameters(command=target, args=rest, env=dict(os.environ))
    async with Client(server, mode=era, elicitation_callback=answer) as client:

        async def names():
            found, cursor = [], None
            while True:
                page = await client.list_tools(cursor=cursor)
                found += [tool.name for tool in page.tools]
                cursor = page.next_cursor
                if cursor is None:
                    return found

        async def call(name, arguments):
            result = await client.call_tool(name, arguments)
            text = result.content[0].text if result.content else None
            return result.structured_content, result.is_error, text

        report = await session(tool, names, call, MCPError)
        report |= {"protocol": client.protocol_version, "server": client.server_info.name}
        print(json.dumps(report))


asyncio.run(main())
