-- Moves lease, permit and probe on, unless a newer leader has the flight; puts back what Redis has forgotten.
--
-- KEYS[1] lock        string, the owner: the leader
-- KEYS[2] flight      hash, the record
-- KEYS[3] fence       string, the last fence given
-- KEYS[4] incarnation string, the server that decided last, and until when it recovers
-- KEYS[5] permits     sorted set, the flights that ask the provider now
-- KEYS[6] budget      string, how many do
-- KEYS[7] queue       sorted set, the clients whose flights wait for a permit
-- KEYS[8] circuit     hash, whether the provider is left in peace
-- KEYS[9] meta        hash, the register of living pods
-- ARGV[1] owner       the caller, <pod>/<fence>/<lease_ms>
-- ARGV[2] lead        '<attempt> <claim> <client> <account>', as begin.lua was told
-- ARGV[3] own_fence   the caller's fence
-- ARGV[4] seen        the highest fence the pod has seen
-- ARGV[5] stands      'yes' while the lease stands by the leader's own clock: where Redis does not recover, only such a leader puts
--                     back what Redis does not hold
-- ARGV[6] lease_ms    how long the renewed lease lasts
-- ARGV[7] flying_ms   how long ago the flight began
-- ARGV[8] known_before  what was known of the token when it began
-- ARGV[9] memory_ms  how long it is remembered that a leader was lost
-- ARGV[10] limit      how many permits there are
-- ARGV[11] called_ms  how long a permit is kept for a flight that was called from the queue
-- ARGV[12] quiet_ms   how long a circuit that does not move is remembered
-- ARGV[13] channels   the channels of the pods, without the pod
-- ARGV[14] permit     'keep', or 'free' when the call runs for longer than callers wait: it makes way for others
--
-- Replies
--   {'renewed'}      the lease lasts lease_ms from now
--   {'superseded'}   a newer fence has the flight, or the flight is over; nothing of it was changed
assert(#KEYS == 9 and #ARGV == 14, 'renew: 9 keys, 14 arguments')
local lock, flight, fence, incarnation, permits, in_use_key, queue, circuit, meta = unpack(KEYS)
local owner, lead, own_fence, seen, stands, lease_ms, flying_ms, known_before, memory_ms, limit, called_ms, quiet_ms, channels,
  permit = unpack(ARGV)
local attempt = string.sub(lead, 1, 36)
own_fence, seen, lease_ms, flying_ms, memory_ms, limit, called_ms, quiet_ms = tonumber(own_fence), fence_number(seen),
  tonumber(lease_ms), tonumber(flying_ms), tonumber(memory_ms), tonumber(limit), tonumber(called_ms), tonumber(quiet_ms)

local now = read_clock()
local budget = {permits = permits, counter = in_use_key, queue = queue, limit = limit, lease_ms = lease_ms,
  called_ms = called_ms, channels = channels, now = now}
local record = read_record(flight)
local holder, last, noted = unpack(redis.call('MGET', lock, fence, incarnation))
local fence_there = fence_number(record.fence)
local is_own, is_held = record.attempt == attempt, holder == owner
local _, recovering_ms = recover({fence = fence, incarnation = incarnation, meta = meta, fleet = fleet_of(channels),
  lease_ms = lease_ms, now = now}, noted, fence_number(last), seen, true)

-- A holder of this fence or a newer one has overtaken the caller. An older one is data that Redis came back with: it is
-- written over.
if holder and not is_held and fence_number(fence_of(holder)) >= own_fence then
  return {'superseded'}
end
if fence_there > own_fence or (fence_there == own_fence and not is_own) then
  return {'superseded'}
end
local has_landed = record.state == 'landed'
if has_landed and not is_own and fence_there < own_fence and was_over(record, now - flying_ms + 2) then
  -- Older data, too: the flight began after that outcome was over. (Two more: the span is rounded up to whole ms.)
  has_landed = false
end
if has_landed and (is_own or not is_held) then
  -- Over, for this leader or for all.
  return {'superseded'}
end
if record['abandoned:' .. attempt] or (not record.state and not is_held and recovering_ms == 0) then
  -- Given back or expired, not forgotten: this renewal is late. Where its lock stands, only the record was evicted.
  return {'superseded'}
end
if not is_own and not is_held and stands ~= 'yes' and recovering_ms == 0 then
  -- Others may lead what Redis does not know this leader has. While it recovers nobody was given a lead, and a leader that has one is
  -- put back, however long Redis was away.
  return {'superseded'}
end

redis.call('SET', lock, owner, 'PX', lease_ms)
if is_own then
  if record.state == 'lost' then
    -- It was only late.
    redis.call('HSET', flight, 'state', 'leading', 'lost_leaders', record.lost_leaders - 1)
  end
elseif not has_landed then
  -- Forgotten, or Redis came back with older data. A success that landed meanwhile is left alone.
  if fence_number(last) < math.max(own_fence, seen) then
    redis.call('SET', fence, whole(math.max(own_fence, seen)))
  end
  if record.class == 'success' then
    redis.call('HSET', flight, 'success_of', record.attempt)
  end
  redis.call('HDEL', flight, 'class', 'token_state', 'sealed', 'landed_at', 'fresh_until', 'fresh_ms')
  redis.call('HSET', flight, 'state', 'leading', 'owner', owner, 'lead', lead, 'started', whole(now - flying_ms),
    'known_before', known_before, 'lost_leaders', known_before == 'lost_leaders' and 1 or 0, 'charged_window', 'none')
end
keep_at_least(flight, lease_ms + memory_ms)
-- By pcall from here on: a lease is kept, whatever is wrong with a key that belongs to all.
if permit == 'keep' then
  pcall(renew_permit, budget, owner)
else
  pcall(free_permit, budget, owner)
end
pcall(renew_probe, circuit, ARGV[3], now, {lease_ms = lease_ms, quiet_ms = quiet_ms})
-- Last: permits of others may have ended since anybody looked.
pcall(settle, budget)
return {'renewed'}
