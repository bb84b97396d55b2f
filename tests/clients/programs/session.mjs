// What each Node program does, over a client's `send(method, path, body, headers)` → [status, Buffer].
export const BASE = 'https://spaces.nexudus.com';

export async function run(send) {
  const { NEXUDUS_EMAIL, NEXUDUS_PASSWORD } = process.env;
  const form = new URLSearchParams({ grant_type: 'password', username: NEXUDUS_EMAIL, password: NEXUDUS_PASSWORD });
  const [, login] = await send('POST', '/api/token', form.toString(), { 'Content-Type': 'application/x-www-form-urlencoded' });
  const headers = { Authorization: `Bearer ${JSON.parse(login).access_token}` };
  const counts = [];
  for (const page of [1, 2]) {
    const [, list] = await send('GET', `/api/spaces/visitors?page=${page}&size=2`, undefined, headers);
    counts.push(JSON.parse(list).Records.length);
  }
  const json = { ...headers, 'Content-Type': 'application/json' };
  const [created, answer] = await send('POST', '/api/spaces/visitors', '{"FullName": "Grace"}', json);
  const [deleted] = await send('DELETE', `/api/spaces/visitors/${JSON.parse(answer).Value.Id}`, undefined, headers);
  const [, echo] = await send('PUT', '/api/echo', Buffer.alloc(300_000, 'x'), headers);
  const [, file] = await send('GET', `/ContentDownload/x?bytes=${process.argv[2]}`, undefined, headers);
  const [error] = await send('GET', '/api/spaces/visitors/999999', undefined, headers);
  console.log(...counts, created, deleted, JSON.parse(echo).body_length, file.length, error);
}
