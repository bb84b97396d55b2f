-- ARGV: me, session, then the fences of spares that are dead now.
local me, session = ARGV[1], ARGV[2]
local generation = fence_of(session)
if fence_of(redis.call('HGET', REGISTERS, 'epoch')) > generation then
  return { 'stale' }
end
local old = fence_of(redis.call('HGET', REGISTERS, 'session'))
if old > generation then
  return { 'stale' }
end
raise(text(generation))
redis.call('HSET', REGISTERS, 'session', session)
for _, fence in ipairs(redis.call('HKEYS', INTENTS)) do
  if (tonumber(fence) or 0) <= generation then
    redis.call('HDEL', INTENTS, fence)
  end
end
for at = 3, #ARGV do
  redis.call('HDEL', SPARES, ARGV[at])
end
if holds(me, text(generation)) then
  redis.call('DEL', LEASE)
end
hint()
return { 'done' }
