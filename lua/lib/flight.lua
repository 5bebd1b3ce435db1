-- The record of a flight, and who waits for it.

-- The fence in an owner, <pod>/<fence>.
local function fence_of(owner)
  return string.match(owner, '/(%d+)$')
end

-- Whether a record has a field that begins so.
local function has_field(record, prefix)
  for field in pairs(record) do
    if string.sub(field, 1, #prefix) == prefix then
      return true
    end
  end
  return false
end

-- Takes a lead back that asked nobody. Leaders before it may have; a late renewal of this one has not.
local function undo_lead(flight, record, lease_ms)
  local lost = tonumber(record.lost) - (record.state == 'lost' and 1 or 0)
  if lost > 0 then
    redis.call('HSET', flight, 'state', 'lost', 'lost', lost)
    redis.call('HDEL', flight, 'owner', 'attempt', 'charged')
    record.state, record.lost, record.owner, record.attempt = 'lost', lost, nil, nil
  else
    redis.call('HDEL', flight, 'state', 'owner', 'attempt', 'claim', 'fence', 'started', 'lease_ms', 'before', 'lost',
      'charged')
    record.state, record.owner, record.attempt, record.claim = nil, nil, nil, nil
    -- What is left are marks and waiting pods, and they last one lease.
    redis.call('PEXPIRE', flight, lease_ms)
  end
end

-- Tells every pod that waits for a flight, once, and forgets who waited.
--
-- Last of all that is written, and by pcall: a channel that the ACL forbids must not undo what was decided.
-- The channels are in the slot of the keys, but not among them: who waits is known only here.
local function tell_waiting(flight, record, channels, message)
  local waits = {}
  for field in pairs(record) do
    if string.sub(field, 1, 6) == 'waits:' then
      waits[#waits + 1] = field
    end
  end
  if #waits == 0 then
    return
  end
  redis.call('HDEL', flight, unpack(waits))
  for _, field in ipairs(waits) do
    redis.pcall('PUBLISH', channels .. string.sub(field, 7), message)
  end
end
