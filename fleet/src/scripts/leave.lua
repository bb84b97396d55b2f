-- ARGV: me.
redis.call('HDEL', MEMBERS, ARGV[1])
if redis.call('HGET', LEASE, 'owner') == ARGV[1] then
  redis.call('DEL', LEASE)
end
hint()
return { 'done' }
