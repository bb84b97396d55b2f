// A program with the fetch of Node.
import { BASE, run } from './session.mjs';

await run(async (method, path, body, headers) => {
  const answer = await fetch(BASE + path, { method, body, headers });
  return [answer.status, Buffer.from(await answer.arrayBuffer())];
});
