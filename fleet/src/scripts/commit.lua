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
for at = 3, #ARGV do
  redis.call('HDEL', SPARES, ARGV[at])
end
if holds(me, text(generation)) then
  for _, fence in ipairs(redis.call('HKEYS', INTENTS)) do
    if (tonumber(fence) or 0) <= generation then
      redis.call('HDEL', INTENTS, fence)
    end
  end
  redis.call('DEL', LEASE)
else
  -- A pair that is written late, perhaps to an engine that has forgotten it: what others intend under a
  -- lower fence there may be younger, and its member has not seen it.
  redis.call('HDEL', INTENTS, text(generation))
end
hint()
return { 'done' }
