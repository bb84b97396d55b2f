// A program with undici's Client, which knows no proxy.
import { createRequire } from 'node:module';
import { BASE, run } from './session.mjs';

const { Client } = createRequire(process.env.CLIENTS + '/')('undici');
const client = new Client(BASE);

await run(async (method, path, body, headers) => {
  const answer = await client.request({ method, path, body, headers });
  return [answer.statusCode, Buffer.from(await answer.body.arrayBuffer())];
});
await client.close();
