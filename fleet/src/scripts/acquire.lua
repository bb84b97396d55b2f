-- ARGV: me, seen, lease in ms, whether the caller goes on although the engine is behind, wait,
-- number of the last poll that was answered.
local me, seen, lasts, settled, wait, answered = unpack(ARGV)
if tonumber(seen) > stored() or has_forgotten(me, answered) then
  note_behind(wait)
  raise(seen)
end
clamp(BEHIND, wait)
clamp(LEASE, lasts)
local left = redis.call('PTTL', BEHIND)
if left > 0 and settled ~= '1' then
  return { 'behind', behind() }
end
local owner = redis.call('HGET', LEASE, 'owner')
if owner and owner ~= me then
  return { 'held', math.max(redis.call('PTTL', LEASE), 0) }
end
local fence = draw(seen, me)
if not fence then
  return { 'exhausted' }
end
redis.call('DEL', LEASE)
redis.call('HSET', LEASE, 'owner', me, 'fence', text(fence))
redis.call('PEXPIRE', LEASE, lasts)
return { 'acquired', text(fence), snapshot(redis.call('HGETALL', REGISTERS), {}) }
