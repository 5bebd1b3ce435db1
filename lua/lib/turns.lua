-- Which client's turn it is to lead a token. Mirrors src/store/memory/clients.rs. Comes after stamps.lua.
--
-- turn:<client>  a number: in this order known clients that wait lead next
-- turns_from     since when somebody leaves the lead to them

-- So many clients wait in order.
local most_turns = 64

-- A known client waits: it has a place in the order.
local function take_turn(flight, record, client)
  local last, count = 0, 0
  for _, turn in pairs(fields_after(record, 'turn:')) do
    last, count = math.max(last, tonumber(turn)), count + 1
  end
  if not record['turn:' .. client] and count < most_turns then
    redis.call('HSET', flight, 'turn:' .. client, last + 1, 'others', 'yes')
  end
end

-- For how long a client leaves the lead to known ones that came before, 0 when there is none or they do not come.
local function wait_for_turn(flight, record, client, is_stranger, called_ms, now)
  local others = fields_after(record, 'turn:')
  local own, is_first = tonumber(others[client]) or math.huge, true
  others[client] = nil
  if not next(others) then
    return 0
  elseif own < math.huge and is_stranger() then
    own = math.huge
  end
  for _, turn in pairs(others) do
    is_first = is_first and tonumber(turn) > own
  end
  if is_first then
    return 0
  end
  if not record.turns_from then
    record.turns_from = whole(now)
    redis.call('HSET', flight, 'turns_from', record.turns_from)
  end
  local left = called_ms - passed_of(flight, record, 'turns_from', now)
  if left > 0 then
    return left
  end
  for other in pairs(others) do
    redis.call('HDEL', flight, 'turn:' .. other)
  end
  redis.call('HDEL', flight, 'turns_from')
  return 0
end
