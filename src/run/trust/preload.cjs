// Leads requests for the configured hosts through the proxy of this `run`, in a Node that does not
// read HTTPS_PROXY by itself (before 22.21 and 24.5). Requests for other hosts are left alone.
'use strict';
(() => {
  const port = PORT;
  const places = new Set(PLACES);
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > 24 || (major === 24 && minor >= 5) || (major === 22 && minor >= 21)) return;
  const http = require('http');
  const https = require('https');
  const net = require('net');
  const tls = require('tls');
  const isOurs = (host, port) => places.has(`${String(host).toLowerCase()}:${port || 443}`);

  const tunnel = (host, hostPort, done) => {
    const target = `${net.isIPv6(host) ? `[${host}]` : host}:${hostPort || 443}`;
    const request = http.request({
      host: '127.0.0.1', port, method: 'CONNECT', path: target, headers: { Host: target }, agent: false,
    });
    request.once('error', error => done(error));
    request.once('connect', (response, socket) => {
      if (response.statusCode === 200) return done(null, socket);
      socket.destroy();
      done(new Error(`proxy of nexudus-proxy: ${response.statusCode} ${response.statusMessage}`));
    });
    request.end();
  };

  const create = https.Agent.prototype.createConnection;
  https.Agent.prototype.createConnection = function (options, callback, ...rest) {
    const isPlain = options === null || typeof options !== 'object' || typeof callback !== 'function';
    if (isPlain || options.socket || !isOurs(options.host, options.port)) {
      return create.call(this, options, callback, ...rest);
    }
    tunnel(options.host, options.port, (error, socket) => {
      if (error) return callback(error);
      callback(null, create.call(this, { ...options, socket }));
    });
    return undefined;
  };

  if (typeof fetch !== 'function') return;
  const key = Symbol.for('undici.globalDispatcher.1');
  const connect = (options, callback) => {
    const { hostname } = options;
    tunnel(hostname, options.port, (error, socket) => {
      if (error) return callback(error, null);
      const servername = options.servername || (net.isIP(hostname) ? '' : hostname);
      const secure = tls.connect({ socket, host: hostname, servername, ALPNProtocols: ['http/1.1'] });
      const failed = reason => callback(reason, null);
      secure.once('error', failed);
      secure.once('secureConnect', () => {
        secure.removeListener('error', failed);
        callback(null, secure);
      });
      return undefined;
    });
  };
  const isInstalled = Symbol('nexudus-proxy');
  const install = () => {
    const before = globalThis[key];
    if (!before || before[isInstalled]) return;
    const through = new before.constructor({ connect });
    const choose = options => {
      const { protocol, hostname, port } = new URL(options.origin);
      return protocol === 'https:' && isOurs(hostname.replace(/^\[|\]$/g, ''), port) ? through : before;
    };
    globalThis[key] = Object.create(before, {
      [isInstalled]: { value: true },
      dispatch: { value: (options, handler) => choose(options).dispatch(options, handler) },
      close: { value: (...given) => before.close(...given) },
      destroy: { value: (...given) => before.destroy(...given) },
    });
  };
  const ask = globalThis.fetch;
  const wrapped = function fetch(...given) {
    // Has Node load its client, which sets the dispatcher.
    if (!globalThis[key]) ask('data:,').catch(() => {});
    install();
    return ask.apply(this, given);
  };
  Object.defineProperty(globalThis, 'fetch', {
    value: wrapped, writable: true, enumerable: true, configurable: true,
  });
})();
