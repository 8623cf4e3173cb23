// client.mjs ERA TOOL URL | ERA TOOL COMMAND ARGUMENTS…: see ../session.mjs. ERA: legacy or auto.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { session } from '../session.mjs';

const [era, tool, target, ...rest] = process.argv.slice(2);
const transport = target.startsWith('http')
  ? new StreamableHTTPClientTransport(new URL(target))
  : new StdioClientTransport({ command: target, args: rest, env: process.env, stderr: 'inherit' });
const heard = {
  logs: [],
  changes: 0,
  wantLogs: async () => { if (era === 'legacy') await client.setLoggingLevel('info'); },
  callTool: (params, options) => client.callTool(params, options),
};
const listChanged = {
  tools: { autoRefresh: false, debounceMs: 0, onChanged: () => { heard.changes += 1; } },
};
const client = new Client(
  { name: 'typescript-2', version: '1' },
  { versionNegotiation: { mode: era }, capabilities: { elicitation: {} }, listChanged });
client.setRequestHandler(
  'elicitation/create', async () => ({ action: 'accept', content: { name: 'Ada' } }));
client.setNotificationHandler(
  'notifications/message', ({ params }) => { heard.logs.push([params.level, params.data]); });
await client.connect(transport);
console.log(JSON.stringify(
  await session(client, tool, () => client.getNegotiatedProtocolVersion(), heard)));
await client.close();
