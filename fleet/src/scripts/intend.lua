-- ARGV: me, fence of the lease, known generation, intent, attempts or empty.
local me, lease, known, intent, attempts = unpack(ARGV)
if not holds(me, lease) then
  return { 'lost' }
end
if fence_of(redis.call('HGET', REGISTERS, 'session')) ~= tonumber(known) then
  return { 'stale' }
end
-- An older open intent is never overwritten: each has the fence of its own lease.
if redis.call('HSETNX', INTENTS, lease, intent) == 0 then
  return { 'stale' }
end
if attempts ~= '' then
  if not replaces(redis.call('HGET', REGISTERS, 'attempts'), attempts) then
    redis.call('HDEL', INTENTS, lease)
    return { 'stale' }
  end
  redis.call('HSET', REGISTERS, 'attempts', attempts)
end
return { 'done' }
