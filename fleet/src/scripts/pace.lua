-- ARGV: me, time until the next call in ms, silence after which a member uses its own share in ms, then
-- for each lane: its name, slots that the member could use until the next call, a pause that it was
-- told in ms, windows `VERSION LIMIT/PERIOD,… SCOPE`.
local me, horizon, cut = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local part, is_news = unreserved(me, cut), false

local function version(list)
  return tonumber(string.match(list, '^(%d+) ') or '0') or 0
end

-- The pause: the longest of all that members were told.
local function pause_of(lane, told)
  local field = 'till:' .. lane
  local till = tonumber(redis.call('HGET', PACE, field) or '0') or 0
  if till > now_ms + 3600000 then
    -- The engine's clock was set back.
    till = 0
  end
  is_news = is_news or (told > 0 and till <= now_ms)
  till = math.max(till, now_ms + told)
  redis.call('HSET', PACE, field, text(till))
  return till
end

-- The windows: the newest version.
local function windows_of(lane, told)
  local field = 'windows:' .. lane
  local held = redis.call('HGET', PACE, field) or ''
  if version(told) > version(held) then
    held, is_news = told, true
    redis.call('HSET', PACE, field, held)
  end
  return held
end

-- What all members ask for.
local function asked_of(lane, wants)
  local prefix = 'ask:' .. lane .. ':'
  redis.call('HSET', PACE, prefix .. me, text(now_ms) .. ' ' .. text(wants))
  local asked, all = 0, redis.call('HGETALL', PACE)
  for at = 1, #all, 2 do
    if string.sub(all[at], 1, #prefix) == prefix then
      local time, count = string.match(all[at + 1], '^(%d+) (%d+)$')
      if not time or now_ms - time > 2 * horizon or time - now_ms > 0 then
        redis.call('HDEL', PACE, all[at])
      else
        asked = asked + count
      end
    end
  end
  return asked
end

local function used(lane, period, width)
  local count, current = 0, math.floor(now_ms / width)
  local reach = math.ceil((period + horizon) / width) + 1
  for _, field in ipairs(redis.call('HKEYS', SLOTS)) do
    local of, window, bucket = string.match(field, '^(%a+):(%d+):(%d+)$')
    if of == lane and tonumber(window) == period then
      if current - bucket > reach or bucket - current > 1 then
        redis.call('HDEL', SLOTS, field)
      else
        count = count + redis.call('HGET', SLOTS, field)
      end
    end
  end
  return count, current
end

-- Slots: as many as every window allows, by what each member asks.
local function pace(lane, wants, pause, windows)
  local till, held = pause_of(lane, pause), windows_of(lane, windows)
  local asked = asked_of(lane, wants)
  local granted, first, gap, notes = wants, now_ms, 0, {}
  if till > now_ms then
    granted = 0
  end
  for limit, period in string.gmatch(held, '(%d+)/(%d+)') do
    limit, period = tonumber(limit) * part, tonumber(period)
    local room, share
    if period <= 10 * horizon then
      -- Too short to count: slots follow each other on a line. A slot may be used up to half a step
      -- late, so LIMIT + 1 of them still span the period.
      local field = 'next:' .. lane .. ':' .. text(period)
      local step = period / math.max(limit - 0.5, 0.001)
      local from = tonumber(redis.call('HGET', PACE, field) or '0') or 0
      if from > now_ms + 2 * horizon + step then
        from = now_ms
      end
      from = math.max(from, now_ms)
      room = math.floor((now_ms + horizon - from) / step) + 1
      first, gap = math.max(first, from), math.max(gap, step)
      -- A slot of a line that is not used is lost: the first that asks has it.
      share = function(free) return math.max(math.floor(free * wants / math.max(asked, 1)), 1) end
      notes[#notes + 1] = { PACE, field }
    else
      local width = math.ceil(period / 50)
      local count, current = used(lane, period, width)
      room = math.floor(limit) - count
      share = function(free) return fair(free, wants, asked) end
      notes[#notes + 1] = { SLOTS, lane .. ':' .. text(period) .. ':' .. text(current) }
    end
    granted = math.max(math.min(granted, room, share(room)), 0)
  end
  for _, note in ipairs(notes) do
    if granted > 0 and note[1] == SLOTS then
      redis.call('HINCRBY', SLOTS, note[2], granted)
    elseif granted > 0 then
      redis.call('HSET', PACE, note[2], string.format('%.3f', first + granted * gap))
    end
  end
  return {
    math.max(till - now_ms, 0), held, granted,
    text((first - now_ms) * 1000), text(gap * 1000),
  }
end

local answers = {}
for at = 4, #ARGV, 4 do
  local lane, wants, pause, windows = unpack(ARGV, at, at + 3)
  answers[#answers + 1] = pace(lane, tonumber(wants), tonumber(pause), windows)
end
-- Nothing is remembered for longer than the longest limit that an issuer has.
for _, key in ipairs({ PACE, SLOTS }) do
  redis.call('PEXPIRE', key, 90000000)
end
if is_news then
  redis.call('PUBLISH', HINT, 'pace')
end
return { 'paced', answers }
