-- What a record says of clients other than the one that leads: which of them ended uncertain. Mirrors src/store/memory/clients.rs.
--
-- uncertain:<client>  '<fence> <lost>': a flight of this client is lost or ended as unknown, and other clients led since;
--                     how many of its leaders were lost in a row
-- others              there: that such a field or one of turns.lua may be

-- So many clients of one token are told apart; of those that come then, strangers are refused under 'never'.
local most_clients_of_token = 64

local function count_of(record, prefix)
  local count = 0
  for _ in pairs(fields_after(record, prefix)) do
    count = count + 1
  end
  return count
end

-- This client leads: what stands of it here is over, and that the token is uncertain for the one before is kept.
local function keep_others(flight, record, state, client, uncertain)
  if record.others then
    redis.call('HDEL', flight, 'uncertain:' .. client, 'turn:' .. client, 'turns_from')
  end
  local lost = tonumber(record.lost_leaders or '0')
  local is_unknown = state == 'lost' or (state == 'landed' and (record.token_state == 'unknown'
    or (record.token_state == 'untouched' and lost > 0)))
  if is_unknown and record.client and record.client ~= client
    and (uncertain == 'never' or count_of(record, 'uncertain:') < most_clients_of_token) then
    redis.call('HSET', flight, 'uncertain:' .. record.client, record.fence .. ' ' .. lost, 'others', 'yes')
  end
end

-- The token is certain for everybody.
local function forget_uncertain(flight, record)
  for client in pairs(fields_after(record, 'uncertain:')) do
    redis.call('HDEL', flight, 'uncertain:' .. client)
  end
end

-- What is kept of a client: the fence, and how many of its leaders were lost. Nil where nothing is.
local function uncertain_for(record, client)
  local fence, lost = string.match(record['uncertain:' .. client] or '', '^(%d+) (%d+)$')
  return fence, tonumber(lost)
end
