-- Who waits for a permit, a line for each client. Mirrors src/admission/queue.rs; the keys are told in permits.lua.

-- The line of all callers that are not known. It is served after the others.
local strangers = 'strangers'
local turn_of_strangers = 2 ^ 52

local function line_key(budget, client)
  return budget.queue .. ':' .. client
end

-- So many lines are looked at together: everybody waits for the script.
local most_lines = 100

-- The lines that are to be served first and the turn of each, strangers last.
local function lines_of(budget)
  local lines, found = {}, redis.call('ZRANGE', budget.queue, 0, most_lines - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    lines[#lines + 1] = {client = found[i], turn = tonumber(found[i + 1])}
  end
  return lines
end

-- The turn after which a client comes that is to be last.
local function last_turn(budget)
  local last, turn = redis.call('ZRANGE', budget.queue, -2, -1, 'WITHSCORES'), 0
  for i = 2, #last, 2 do
    turn = last[i - 1] == strangers and turn or tonumber(last[i])
  end
  return turn
end

-- These flights queue no longer. Without any: whether the line is empty is looked at all the same.
local function leave_line(budget, client, places)
  local key, left = line_key(budget, client), #places == 0 and 1 or 0
  -- Lua unpacks no more than some thousands.
  for first = 1, #places, 1000 do
    left = left + redis.call('ZREM', key, unpack(places, first, math.min(first + 999, #places)))
  end
  if left > 0 and redis.call('EXISTS', key) == 0 then
    redis.call('ZREM', budget.queue, client)
  end
end
