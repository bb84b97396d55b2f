-- ARGV: spare.
local generation = fence_of(ARGV[1])
if fence_of(redis.call('HGET', REGISTERS, 'epoch')) > generation then
  redis.call('HDEL', INTENTS, text(generation))
  return { 'stale' }
end
redis.call('HSET', SPARES, text(generation), ARGV[1])
redis.call('HDEL', INTENTS, text(generation))
local all = redis.call('HKEYS', SPARES)
if #all > 8 then
  table.sort(all, function(a, b) return (tonumber(a) or 0) < (tonumber(b) or 0) end)
  redis.call('HDEL', SPARES, all[1])
end
hint()
return { 'done' }
