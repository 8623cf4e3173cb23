"""client.py ERA TOOL URL | ERA TOOL COMMAND ARGUMENTS…: see ../session.py. ERA is always legacy."""

import asyncio
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from mcp import ClientSession, McpError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import (
    ElicitResult, PromptReference, ServerNotification, ToolListChangedNotification)
from pydantic import AnyUrl
from session import session


class Heard:
    logs, changes = [], 0

    async def log(self, params):
        self.logs.append([params.level, params.data])

    async def note(self, message):
        if isinstance(message, ServerNotification):
            self.changes += isinstance(message.root, ToolListChangedNotification)

    async def want_logs(self):
        await self.client.set_logging_level("info")

    async def call(self, name, arguments, progress):
        return await self.client.call_tool(name, arguments, progress_callback=progress)


async def answer(context, params):
    return ElicitResult(action="accept", content={"name": "Ada"})


async def main():
    _, tool, target, *rest = sys.argv[1:]
    if target.startswith("http"):
        transport = streamablehttp_client(target)
    else:
        transport = stdio_client(
            StdioServerParameters(command=target, args=rest, env=dict(os.environ)))
    heard = Heard()
    async with transport as streams, ClientSession(
            streams[0], streams[1], elicitation_callback=answer, logging_callback=heard.log,
            message_handler=heard.note) as client:
        heard.client = client
        agreed = await client.initialize()

        async def names():
            found, cursor = [], None
            while True:
                page = await client.list_tools(cursor)
                found += [tool.name for tool in page.tools]
                cursor = page.nextCursor
                if cursor is None:
                    return found

        async def call(name, arguments):
            result = await client.call_tool(name, arguments)
            text = result.content[0].text if result.content else None
            return result.structuredContent, result.isError, text

        async def made(name, uri, template):
            async def read(uri):
                return (await client.read_resource(AnyUrl(uri))).contents[0].text

            prompts = (await client.list_prompts()).prompts
            resources = (await client.list_resources()).resources
            templates = (await client.list_resource_templates()).resourceTemplates
            prompt = await client.get_prompt(name, {"who": "Ada"})
            reference = PromptReference(type="ref/prompt", name=name)
            completed = await client.complete(reference, {"name": "who", "value": "a"})
            return {
                "promptListed": name in [one.name for one in prompts],
                "resourceListed": uri in [str(one.uri) for one in resources],
                "templateListed": template in [one.uriTemplate for one in templates],
                "prompt": prompt.messages[0].content.text,
                "resource": await read(uri),
                "ofTemplate": await read(f"{name}:of/monday"),
                "completed": completed.completion.values,
            }

        report = await session(tool, names, call, made, McpError, heard)
        report |= {"protocol": agreed.protocolVersion, "server": agreed.serverInfo.name}
        print(json.dumps(report))


asyncio.run(main())
