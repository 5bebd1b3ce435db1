-- The record of a flight.

-- The fence in an owner, <pod>/<fence>.
local function fence_of(owner)
  return string.match(owner, '/(%d+)$')
end

-- Takes a lead back that asked nobody. Leaders before it may have; a late renewal of this one has not.
local function undo_lead(flight, record, lease_ms)
  local lost = tonumber(record.lost) - (record.state == 'lost' and 1 or 0)
  if lost > 0 then
    -- The time of those was over when this one was given the lead.
    redis.call('HSET', flight, 'state', 'lost', 'lost', lost, 'again_at', 0)
    redis.call('HDEL', flight, 'owner', 'attempt', 'charged')
    record.state, record.lost, record.again_at, record.owner, record.attempt = 'lost', lost, '0', nil, nil
  else
    redis.call('HDEL', flight, 'state', 'owner', 'attempt', 'claim', 'fence', 'started', 'lease_ms', 'before', 'lost',
      'charged', 'again_at')
    record.state, record.owner, record.attempt, record.claim = nil, nil, nil, nil
    -- What is left are marks and waiting pods, and they last one lease.
    redis.call('PEXPIRE', flight, lease_ms)
  end
end
