-- What every script begins with: the keys, the time, fences, values `FENCE:BYTES`.
local FENCE, LEASE, REGISTERS, SET, REVISION, INTENTS, SPARES, MEMBERS, BEHIND, HINT, PACE, SLOTS,
  COUNTS = unpack(KEYS)
local LAST = 4503599627370496
local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = math.floor(now_us / 1000)

local function text(number)
  return string.format('%.0f', number)
end

local function stored()
  return tonumber(redis.call('GET', FENCE) or '0') or 0
end

-- Two members draw different fences also where the engine has forgotten the first of the draws.
local function salt(me)
  local sum = 0
  for at = 1, #me do
    sum = (sum * 31 + string.byte(me, at)) % 4096
  end
  return sum
end

local function draw(seen, me)
  local fence = math.max(stored(), now_us, tonumber(seen)) + 1 + salt(me)
  if fence > LAST then
    return nil
  end
  redis.call('SET', FENCE, text(fence))
  return fence
end

local function raise(seen)
  if tonumber(seen) > stored() then
    redis.call('SET', FENCE, seen)
  end
end

local function fence_of(value)
  if not value then
    return 0
  end
  local digits = string.match(value, '^(%d+)[:!]')
  local fence = tonumber(digits or '0')
  if fence > LAST then
    return 0
  end
  return fence
end

local function is_tombstone(value)
  return value and string.match(value, '^%d+!') ~= nil
end

local function holds(me, fence)
  local lease = redis.call('HMGET', LEASE, 'owner', 'fence')
  return lease[1] == me and lease[2] == fence
end

-- Whether a poll of this member that the engine has answered is not in the engine any more.
local function has_forgotten(me, answered)
  local entry = redis.call('HGET', MEMBERS, me)
  local number = entry and string.match(entry, '^%d+ (%d+) ')
  return tonumber(answered) > (tonumber(number or '0') or 0)
end

-- Notes that the engine is behind a member, once for the time that the first note sets.
local function note_behind(wait)
  if redis.call('EXISTS', BEHIND) == 0 then
    redis.call('HSET', BEHIND, '', '1')
    redis.call('PEXPIRE', BEHIND, wait)
  end
end

-- Ends at the latest when it would if it began now: after the engine's clock was set back, what
-- expires would last for longer.
local function clamp(key, longest)
  if redis.call('PTTL', key) > tonumber(longest) then
    redis.call('PEXPIRE', key, longest)
  end
end

local function behind()
  local left = redis.call('PTTL', BEHIND)
  if left <= 0 then
    return {}
  end
  return { left, redis.call('HKEYS', BEHIND) }
end

-- Whether a value takes the place of another: a tombstone of any record, else the newer one.
local function replaces(old, new)
  if is_tombstone(old) and not is_tombstone(new) then
    return false
  end
  if is_tombstone(new) and not is_tombstone(old) then
    return true
  end
  return fence_of(new) > fence_of(old)
end

-- The part of a rate that is not used by members on their own while they are cut off: each divides by
-- the number of members that it last heard of.
local function unreserved(me, cut)
  local reserved, members = 0, redis.call('HGETALL', MEMBERS)
  for at = 1, #members, 2 do
    local time, known = string.match(members[at + 1], '^(%d+) %d+ (%d+) ')
    if time and members[at] ~= me and now_ms - time > tonumber(cut) then
      reserved = reserved + 1 / math.max(tonumber(known), 1)
    end
  end
  return math.max(1 - reserved, 0)
end

-- A part of what there is, in whole units. What is left over goes to one of those who ask as if by lot:
-- else the one that asks right after a unit has come back would get each of them.
local function fair(room, wants, asked)
  local part = room * wants / math.max(asked, 1)
  local whole = math.floor(part)
  if (now_us % 997) / 997 < part - whole then
    whole = whole + 1
  end
  return whole
end

local function hint()
  redis.call('PUBLISH', HINT, '')
end

local function snapshot(registers, same)
  return {
    now_ms, registers, same, redis.call('HVALS', INTENTS), redis.call('HVALS', SPARES),
    redis.call('HGETALL', MEMBERS), redis.call('GET', REVISION) or '', behind(),
    redis.call('HGET', LEASE, 'owner') or '',
  }
end
