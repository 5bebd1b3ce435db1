-- Moves lease, permit and probe on, unless a newer leader has the flight; puts back what Redis has forgotten.
--
-- KEYS[1] lock        string, the owner: the leader
-- KEYS[2] flight      hash, the record
-- KEYS[3] fence       string, the last fence given
-- KEYS[4] recovering  string, stands for one lease after Redis was found to have forgotten
-- KEYS[5] permits     sorted set, the flights that ask the provider now
-- KEYS[6] budget      string, how many do
-- KEYS[7] queue       sorted set, the flights that wait for a permit
-- KEYS[8] circuit     hash, whether the provider is left in peace
-- ARGV[1] owner       the caller, <pod>/<fence>
-- ARGV[2] attempt     the caller's local flight
-- ARGV[3] claim       what must be equal for an answer to be shared
-- ARGV[4] own_fence   the caller's fence
-- ARGV[5] seen        the highest fence the pod has seen
-- ARGV[6] lease_ms    how long the renewed lease lasts
-- ARGV[7] flying_ms   how long ago the flight began
-- ARGV[8] before      what was known of the token when it began
-- ARGV[9] memory_ms   how long it is remembered that a leader was lost
-- ARGV[10] limit      how many permits there are
-- ARGV[11] called_ms  how long a permit is kept for a flight that was called from the queue
-- ARGV[12] quiet_ms   how long a circuit that does not move is remembered
-- ARGV[13] channels   the channels of the pods, without the pod
--
-- Replies
--   {'renewed'}   the lease lasts lease_ms from now
--   {'lost'}      a newer fence has the flight, or the flight is over; nothing was changed
assert(#KEYS == 8 and #ARGV == 13, 'renew: 8 keys, 13 arguments')
local lock, flight, fence, recovering = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local owner, attempt, claim, own_fence, seen = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local lease_ms, flying_ms, before, memory_ms = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])

local circuit, quiet_ms = KEYS[8], tonumber(ARGV[12])

local now = read_clock()
local budget = {permits = KEYS[5], counter = KEYS[6], queue = KEYS[7], limit = tonumber(ARGV[10]), lease_ms = lease_ms,
  called_ms = tonumber(ARGV[11]), channels = ARGV[13], now = now}
local _, recovering_ms = last_fence(fence, recovering, redis.call('MGET', fence, recovering), seen, lease_ms)
local holder = redis.call('GET', lock)
local state, attempt_there, fence_there, lost, is_gone =
  unpack(redis.call('HMGET', flight, 'state', 'attempt', 'fence', 'lost', 'gone:' .. attempt))
fence_there = tonumber(fence_there or '0')

-- A holder of this fence or a newer one has overtaken the caller. An older one is data that Redis came back with: it is
-- written over.
if holder and holder ~= owner and tonumber(fence_of(holder)) >= own_fence then
  return {'lost'}
end
if fence_there > own_fence or (fence_there == own_fence and attempt_there ~= attempt) then
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
renew_permit(budget, owner)
renew_probe(circuit, ARGV[4], now, {lease_ms = lease_ms, quiet_ms = quiet_ms})
-- Last: permits of others may have ended since anybody looked.
settle(budget)
return {'renewed'}
