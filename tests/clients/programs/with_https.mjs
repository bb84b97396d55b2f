// A program with https.request, over an agent of its own.
import https from 'node:https';
import { BASE, run } from './session.mjs';

const agent = new https.Agent({ keepAlive: true });

await run((method, path, body, headers) => new Promise((resolve, reject) => {
  const request = https.request(BASE + path, { method, headers, agent }, answer => {
    const pieces = [];
    answer.on('data', piece => pieces.push(piece));
    answer.on('end', () => resolve([answer.statusCode, Buffer.concat(pieces)]));
  });
  request.on('error', reject);
  request.end(body);
}));
agent.destroy();
