-- ARGV: me, seen, reported, info, wait while behind, memory of members, number of this poll and of
-- the last one that was answered, then name and fence pairs.
local me, seen, reported, info, wait, memory, number, answered = unpack(ARGV, 1, 8)
local changed, same = {}, {}
local is_behind = tonumber(seen) > stored() or has_forgotten(me, answered)
local have = {}
for at = 9, #ARGV, 2 do
  have[ARGV[at]] = ARGV[at + 1]
end
for _, name in ipairs({ 'session', 'epoch', 'lock', 'attempts' }) do
  local value = redis.call('HGET', REGISTERS, name)
  local known = tonumber(have[name] or '0')
  if fence_of(value) < known then
    is_behind = true
  end
  if value and fence_of(value) == known then
    same[#same + 1] = name
  elseif value then
    changed[#changed + 1] = name
    changed[#changed + 1] = value
  end
end
clamp(BEHIND, wait)
if is_behind then
  note_behind(wait)
end
if reported == '1' and redis.call('PTTL', BEHIND) > 0 then
  redis.call('HSET', BEHIND, me, '1')
end
raise(seen)
local before = redis.call('HGET', MEMBERS, me) or ''
redis.call('HSET', MEMBERS, me, text(now_ms) .. ' ' .. number .. ' 1 ' .. info)
local all = redis.call('HGETALL', MEMBERS)
for at = 1, #all, 2 do
  local last = tonumber(string.match(all[at + 1], '^(%d+) ') or '0')
  if now_ms - last > tonumber(memory) then
    redis.call('HDEL', MEMBERS, all[at])
  elseif last > now_ms then
    -- The engine's clock was set back: the member is as old as this look.
    local rest = string.match(all[at + 1], '^%d+ (.*)$')
    redis.call('HSET', MEMBERS, all[at], text(now_ms) .. ' ' .. rest)
  end
end
-- How many members the caller knows of: while it is cut off it uses that part of the budget. If the
-- answer to its last poll was lost it may still know fewer.
local known = redis.call('HLEN', MEMBERS)
local last_known = tonumber(string.match(before, '^%d+ %d+ (%d+) ') or '')
if last_known and tonumber(answered) + 1 < tonumber(number) then
  known = math.min(known, last_known)
end
redis.call('HSET', MEMBERS, me, text(now_ms) .. ' ' .. number .. ' ' .. known .. ' ' .. info)

-- The pauses and windows: a member that is not throttled itself hears of them here.
local answer, paces, all_paces = snapshot(changed, same), {}, redis.call('HGETALL', PACE)
for at = 1, #all_paces, 2 do
  local lane = string.match(all_paces[at], '^till:(%a+)$')
  if lane then
    local left = (tonumber(all_paces[at + 1]) or 0) - now_ms
    if left < 0 or left > 3600000 then
      left = 0
    end
    paces[#paces + 1] = lane
    paces[#paces + 1] = left
    paces[#paces + 1] = redis.call('HGET', PACE, 'windows:' .. lane) or ''
  end
end
answer[#answer + 1] = paces
return answer
