-- Who waits for a permit, a line for each client. Mirrors src/admission/queue.rs; the keys are told in permits.lua.

-- The line of all callers that are not known. It is served after the others.
local strangers = 'strangers'
local turn_of_strangers = 2 ^ 52

local function line_key(budget, client)
  return budget.queue .. ':' .. client
end

-- The lines and the turn of each, strangers last.
local function lines_of(budget)
  local lines, found = {}, redis.call('ZRANGE', budget.queue, 0, -1, 'WITHSCORES')
  for i = 1, #found, 2 do
    lines[#lines + 1] = {client = found[i], turn = tonumber(found[i + 1])}
  end
  return lines
end

-- These flights queue no longer.
local function leave_line(budget, client, places)
  local key = line_key(budget, client)
  -- Lua unpacks no more than some thousands.
  for first = 1, #places, 1000 do
    redis.call('ZREM', key, unpack(places, first, math.min(first + 999, #places)))
  end
  if redis.call('EXISTS', key) == 0 then
    redis.call('ZREM', budget.queue, client)
  end
end
