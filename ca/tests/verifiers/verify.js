// Asks Node, as a client of a TLS server that has each certificate.
const fs = require('fs');
const tls = require('tls');
const path = require('path');

const folder = process.argv[2];
const read = (name) => fs.readFileSync(path.join(folder, name), 'utf8');
const ca = read('root.pem');

function judge(file, name) {
  return new Promise((resolve) => {
    const cert = read(`${file}.pem`) + read(`${file}.above.pem`);
    const server = tls.createServer({ key: read(`${file}.key`), cert }, (socket) => socket.end());
    server.on('tlsClientError', () => {});
    server.listen(0, '127.0.0.1', () => {
      const client = tls.connect({
        ca,
        host: '127.0.0.1',
        port: server.address().port,
        servername: 'localhost',
        checkServerIdentity: (_, peer) => tls.checkServerIdentity(name, peer),
      });
      const done = (verdict) => {
        client.destroy();
        server.close();
        resolve(`${file} server ${verdict}`);
      };
      client.on('secureConnect', () => done('accepted'));
      client.on('error', (error) => done(`refused ${error.message.split('\n')[0]}`));
    });
  });
}

(async () => {
  for (const line of read('cases').trim().split('\n')) {
    console.log(await judge(...line.split(' ')));
  }
})();
