-- No ARGV.
return { 'set', redis.call('GET', REVISION) or '', redis.call('HGETALL', SET) }
