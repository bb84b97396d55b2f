-- ARGV: place, name, value, fence of what does not open or empty.
local place, name, value, unopened = unpack(ARGV)
local key = REGISTERS
if place == 'set' then
  key = SET
end
local old = redis.call('HGET', key, name)
local is_damaged = unopened ~= '' and old and fence_of(old) == tonumber(unopened)
if old and not is_damaged and not replaces(old, value) then
  return { 'stale' }
end
raise(text(fence_of(value)))
redis.call('HSET', key, name, value)
if place == 'set' then
  local last = tonumber(redis.call('GET', REVISION) or '0') or 0
  redis.call('SET', REVISION, text(math.max(last, now_us) + 1))
end
hint()
return { 'done' }
