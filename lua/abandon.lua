-- Gives back a lead whose refresh function was never polled, or an attempt that may still be on its way.
--
-- KEYS[1] lock      string, the owner: who leads
-- KEYS[2] flight    hash, the record
-- ARGV[1] attempt   the caller's local flight
-- ARGV[2] led       its fence, 0 when the caller never learned whether it leads
-- ARGV[3] lease_ms  how long an attempt that has not arrived is expected
-- ARGV[4] flight's name, for the message
-- ARGV[5] channels  the channels of the pods, without the pod
--
-- Replies
--   {'abandoned'}   the lead was given back; waiting pods are told to look
--   {'marked'}      the attempt has not arrived; should it, it finds itself abandoned
--   {'stale'}       somebody else has the flight; nothing was changed
assert(#KEYS == 2 and #ARGV == 5, 'abandon: 2 keys, 5 arguments')
local lock, flight = KEYS[1], KEYS[2]
local attempt, led, lease_ms, name, channels = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]

local record = read_flight(flight)
local leads = record.attempt == attempt and (record.state == 'leading' or record.state == 'lost')

if not leads then
  if led > 0 then
    return {'stale'}
  end
  redis.call('HSET', flight, 'gone:' .. attempt, '1')
  keep_at_least(flight, lease_ms)
  return {'marked'}
end

if redis.call('GET', lock) == record.owner then
  redis.call('DEL', lock)
end
-- Leaders before this one may have asked the provider; a late renewal of this one has asked nobody.
local lost = tonumber(record.lost) - (record.state == 'lost' and 1 or 0)
if lost > 0 then
  redis.call('HSET', flight, 'state', 'lost', 'lost', lost)
  redis.call('HDEL', flight, 'owner', 'attempt')
else
  redis.call('HDEL', flight, 'state', 'owner', 'attempt', 'claim', 'fence', 'started', 'lease_ms', 'before', 'lost')
  -- What is left are marks, and they last one lease.
  redis.call('PEXPIRE', flight, lease_ms)
end
-- A repeated begin or renewal of this attempt may still be on its way.
redis.call('HSET', flight, 'gone:' .. attempt, '1')
keep_at_least(flight, lease_ms)
tell_waiting(flight, record, channels, 'look ' .. name)
return {'abandoned'}
