-- ARGV: me, silence after which a member uses its own part of a rate in ms, time until the next call in ms,
-- then for each counter: name, kind (total, span or rate), limit, period in ms, units that the caller
-- could use until its next call, units that it used without having them, and what it knows: when the
-- span began and how much is taken of it.
local me, cut, horizon = ARGV[1], ARGV[2], tonumber(ARGV[3])

-- A span runs from its first use until its end; a total has neither.
local function runs(since, period)
  return since > 0 and (period == 0 or now_ms < since + period)
end

-- Removes spans that ended: once for each that begins.
local function sweep()
  local all = redis.call('HGETALL', COUNTS)
  for at = 1, #all, 2 do
    local since, period = string.match(all[at + 1], '^(%d+) %d+ (%d+)$')
    if since and tonumber(period) > 0 and not runs(tonumber(since), tonumber(period)) then
      redis.call('HDEL', COUNTS, all[at])
    end
  end
end

local function span(name, limit, period, wants, owes, since, used)
  local field = 'span:' .. name
  local began, taken = string.match(redis.call('HGET', COUNTS, field) or '', '^(%d+) (%d+) %d+$')
  began, taken = tonumber(began or '0'), tonumber(taken or '0')
  -- What the caller knows of a span that runs stays known after the engine has lost it: of two
  -- spans the one that began first stays, and of two numbers the higher one.
  if not runs(began, period) then
    began, taken = 0, 0
  end
  if runs(since, period) then
    began = began == 0 and since or math.min(began, since)
    taken = math.max(taken, used)
  end
  if began == 0 and wants + owes == 0 then
    -- A look begins no span.
    return { 0, '0', '0', 0 }
  end
  if began == 0 then
    began = period == 0 and 1 or now_ms
    sweep()
  end
  taken = taken + owes
  local granted = math.max(math.min(wants, limit - taken), 0)
  taken = taken + granted
  redis.call('HSET', COUNTS, field, text(began) .. ' ' .. text(taken) .. ' ' .. text(period))
  local left = period == 0 and 0 or began + period - now_ms
  return { granted, text(began), text(taken), left }
end

-- A bucket of `limit` that fills in `period`, as a line of slots: the first that is free may lie a
-- period back.
local function rate(name, limit, period, wants, part)
  local field, asked, kept = 'ask:' .. name, wants, {}
  for who, time, count in string.gmatch(redis.call('HGET', COUNTS, field) or '', '(%S+) (%d+) (%d+);') do
    if who ~= me and now_ms - time <= 2 * horizon and time - now_ms <= 0 then
      asked = asked + count
      kept[#kept + 1] = who .. ' ' .. time .. ' ' .. count .. ';'
    end
  end
  kept[#kept + 1] = me .. ' ' .. text(now_ms) .. ' ' .. text(wants) .. ';'
  redis.call('HSET', COUNTS, field, table.concat(kept))
  if limit * part < 0.001 then
    return { 0, '0', '0', horizon }
  end
  local step, line = period / (limit * part), 'rate:' .. name
  local free = tonumber(redis.call('HGET', COUNTS, line) or '0') or 0
  if free > now_ms + step then
    -- The engine's clock was set back, or the limit was raised.
    free = now_ms + step
  end
  free = math.max(free, now_ms - period)
  local room = math.floor((now_ms - free) / step + 0.000001)
  local granted = math.max(math.min(wants, room, fair(room, wants, asked)), 0)
  redis.call('HSET', COUNTS, line, string.format('%.3f', free + granted * step))
  return { granted, '0', '0', math.ceil(math.max(free + step - now_ms, 0)) }
end

local part, answers = unreserved(me, cut), {}
for at = 4, #ARGV, 8 do
  local name, kind, limit, period, wants, owes, since, used = unpack(ARGV, at, at + 7)
  limit, period, wants = tonumber(limit), tonumber(period), tonumber(wants)
  if limit == 0 then
    redis.call('HDEL', COUNTS, 'span:' .. name, 'rate:' .. name, 'ask:' .. name)
    answers[#answers + 1] = { 0, '0', '0', 0 }
  elseif kind == 'rate' then
    answers[#answers + 1] = rate(name, limit, period, wants, part)
  else
    answers[#answers + 1] =
      span(name, limit, period, wants, tonumber(owes), tonumber(since), tonumber(used))
  end
end
return { 'counted', answers }
