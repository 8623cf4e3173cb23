"""client.py ERA TOOL URL | ERA TOOL COMMAND ARGUMENTS…: see ../session.py. ERA: legacy or auto."""

import asyncio
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from mcp import Client, MCPError, StdioServerParameters
from mcp.types import ElicitResult, PromptReference, ToolListChangedNotification
from session import session


class Heard:
    logs, changes = [], 0

    async def log(self, params):
        self.logs.append([params.level, params.data])

    async def note(self, message):
        self.changes += isinstance(message, ToolListChangedNotification)

    async def listen(self, opened):
        async with self.client.listen(tools_list_changed=True) as events:
            opened.set()
            async for _ in events:
                self.changes += 1

    async def want_logs(self):
        if self.era == "legacy":
            await self.client.set_logging_level("info")

    async def call(self, name, arguments, progress):
        return await self.client.call_tool(name, arguments, progress_callback=progress)


async def answer(context, params):
    return ElicitResult(action="accept", content={"name": "Ada"})


async def main():
    era, tool, target, *rest = sys.argv[1:]
    if target.startswith("http"):
        server = target
    else:
        server = StdioServerParameters(command=target, args=rest, env=dict(os.environ))
    heard = Heard()
    heard.era = era
    async with Client(
            server, mode=era, elicitation_callback=answer, logging_callback=heard.log,
            log_level="info", message_handler=heard.note) as client:
        heard.client = client
        if era == "auto":
            opened = asyncio.Event()
            listening = asyncio.create_task(heard.listen(opened))
            await opened.wait()

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

        async def made(name, uri, template):
            async def read(uri):
                return (await client.read_resource(uri)).contents[0].text

            prompts = (await client.list_prompts()).prompts
            resources = (await client.list_resources()).resources
            templates = (await client.list_resource_templates()).resource_templates
            prompt = await client.get_prompt(name, {"who": "Ada"})
            reference = PromptReference(type="ref/prompt", name=name)
            completed = await client.complete(reference, {"name": "who", "value": "a"})
            return {
                "promptListed": name in [one.name for one in prompts],
                "resourceListed": uri in [str(one.uri) for one in resources],
                "templateListed": template in [one.uri_template for one in templates],
                "prompt": prompt.messages[0].content.text,
                "resource": await read(uri),
                "ofTemplate": await read(f"{name}:of/monday"),
                "completed": completed.completion.values,
            }

        report = await session(tool, names, call, made, MCPError, heard)
        report |= {"protocol": client.protocol_version, "server": client.server_info.name}
        if era == "auto":
            listening.cancel()
        print(json.dumps(report))


asyncio.run(main())
