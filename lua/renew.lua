-- Moves the lease on, unless a newer leader has the flight; puts back what Redis has forgotten.
--
-- KEYS[1] lock        string, the owner: who leads
-- KEYS[2] flight      hash, the record
-- KEYS[3] fence       string, the last fence given
-- KEYS[4] recovering  string, stands for one lease after Redis was found to have forgotten
-- ARGV[1] owner       the caller, <pod>/<fence>
-- ARGV[2] attempt     the caller's local flight
-- ARGV[3] claim       what must be equal for an answer to be shared
-- ARGV[4] led         the caller's fence
-- ARGV[5] seen        the highest fence the pod has seen
-- ARGV[6] lease_ms    how long the renewed lease lasts
-- ARGV[7] flying_ms   how long ago the flight began
-- ARGV[8] before      what was known of the token when it began
-- ARGV[9] memory_ms   how long it is remembered that a leader was lost
--
-- Replies
--   {'renewed'}   the lease lasts lease_ms from now
--   {'lost'}      a newer fence has the flight, or the flight is over; nothing was changed
assert(#KEYS == 4 and #ARGV == 9, 'renew: 4 keys, 9 arguments')
local lock, flight, fence, recovering = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local owner, attempt, claim, led, seen = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local lease_ms, flying_ms, before, memory_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])

local now = now_ms()
local _, recovering_ms = last_fence(fence, recovering, seen, lease_ms)
local holder = redis.call('GET', lock)
local state, attempt_there, fence_there, lost, is_gone =
  unpack(redis.call('HMGET', flight, 'state', 'attempt', 'fence', 'lost', 'gone:' .. attempt))
fence_there = tonumber(fence_there or '0')

-- An older holder stands there only when Redis came back with older data.
if holder and holder ~= owner and tonumber(fence_of(holder)) >= led then
  return {'lost'}
end
if fence_there > led or (fence_there == led and attempt_there ~= attempt) then
  return {'lost'}
end
if state == 'landed' and (attempt_there == attempt or holder ~= owner) then
  -- Over, for this leader or for all.
  return {'lost'}
end
if is_gone or (not state and recovering_ms == 0) then
  -- Given back or expired, not forgotten: this renewal is late.
  return {'lost'}
end

redis.call('SET', lock, owner, 'PX', lease_ms)
if attempt_there == attempt then
  if state == 'lost' then
    -- It was only late.
    redis.call('HSET', flight, 'state', 'leading', 'lost', lost - 1)
  end
elseif state ~= 'landed' then
  -- Forgotten, or Redis came back with older data. A success that landed meanwhile is left alone.
  redis.call('HSET', flight, 'state', 'leading', 'owner', owner, 'attempt', attempt, 'claim', claim,
    'fence', ARGV[4], 'started', now - flying_ms, 'lease_ms', lease_ms, 'before', before,
    'lost', before == 'lost_leaders' and 1 or 0)
end
keep_at_least(flight, lease_ms + memory_ms)
return {'renewed'}
