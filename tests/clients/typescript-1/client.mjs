// client.mjs ERA TOOL URL | ERA TOOL COMMAND ARGUMENTS…: see ../session.mjs. ERA is always legacy.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  ElicitRequestSchema, LoggingMessageNotificationSchema, ToolListChangedNotificationSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { session } from '../session.mjs';

const [, tool, target, ...rest] = process.argv.slice(2);
const transport = target.startsWith('http')
  ? new StreamableHTTPClientTransport(new URL(target))
  : new StdioClientTransport({ command: target, args: rest, env: process.env, stderr: 'inherit' });
const client = new Client(
  { name: 'typescript-1', version: '1' }, { capabilities: { elicitation: {} } });
client.setRequestHandler(
  ElicitRequestSchema, async () => ({ action: 'accept', content: { name: 'Ada' } }));
const heard = {
  logs: [],
  changes: 0,
  wantLogs: () => client.setLoggingLevel('info'),
  callTool: (params, options) => client.callTool(params, undefined, options),
};
client.setNotificationHandler(
  LoggingMessageNotificationSchema, ({ params }) => { heard.logs.push([params.level, params.data]); });
client.setNotificationHandler(
  ToolListChangedNotificationSchema, () => { heard.changes += 1; });
let agreed;
transport.setProtocolVersion = (set => version => {
  agreed = version;
  set?.call(transport, version);
})(transport.setProtocolVersion);
await client.connect(transport);
console.log(JSON.stringify(await session(client, tool, () => agreed, heard)));
await client.close();
