-- The record of a flight.

-- An owner is <pod>/<fence>/<lease_ms>: the lease that its lock, its permit and its probe were given with goes with them, since
-- pods of one fleet may have different ones.
local function fence_of(owner)
  return string.match(owner, '/(%d+)/%d+$')
end

-- Whether the outcome that stands was over before a flight began: that flight was led over it, and the server knows it again
-- because it came back with older data, or because the flight was led without this server.
local function was_over(record, began)
  local over = record.token_state == 'rotated' and record.fresh_until or record.landed_at
  return tonumber(over or '0') <= began
end

-- Takes a lead back that asked nobody. Comes after login.lua. Leaders before it may have; a late renewal of this one has not.
local function undo_lead(flight, record, lease_ms)
  local lost = tonumber(record.lost_leaders) - (record.state == 'lost' and 1 or 0)
  if lost > 0 then
    -- The time of those was over when this one was given the lead.
    redis.call('HSET', flight, 'state', 'lost', 'lost_leaders', lost, 'again_at', 0,
      'owner', (string.gsub(record.owner or '', '^[^/]+', '-')))
    redis.call('HDEL', flight, 'charged_window')
    record.state, record.lost_leaders, record.again_at, record.owner, record.attempt = 'lost', lost, '0', nil, nil
  else
    redis.call('HDEL', flight, 'state', 'owner', 'lead', 'started', 'known_before', 'lost_leaders', 'charged_window', 'again_at')
    record.state, record.owner, record.attempt, record.claim = nil, nil, nil, nil
    record.client = nil
    if not next(fields_after(record, 'uncertain:')) then
      -- What is left are marks, and they last one lease.
      -- A token that an answer gave is given again, for as long as before.
      redis.call('PEXPIRE', flight, math.max(lease_ms, login_ms(flight, record), math.max(record.given_until or 0, record.ended or 0) - read_clock()))
    end
  end
end
