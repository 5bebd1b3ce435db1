-- Asks what a flight is to do: take the outcome, join the leader, lead, queue, or come again later.
--
-- KEYS[1] lock        string, the owner: the leader
-- KEYS[2] flight      hash, the record
-- KEYS[3] fence       string, the last fence given
-- KEYS[4] recovering  string, stands for one lease after Redis was found to have forgotten
-- KEYS[5] attempts    hash, how often the session led
-- KEYS[6] permits     sorted set, the flights that ask the provider now
-- KEYS[7] budget      string, how many do
-- KEYS[8] queue       sorted set, the flights that wait for a permit
-- KEYS[9] circuit     hash, whether the provider is left in peace
-- ARGV[1] pod         the caller's pod
-- ARGV[2] attempt     the caller's local flight; the same attempt gets the same answer
-- ARGV[3] claim       what must be equal for an answer to be shared
-- ARGV[4] name        the flight's, for messages
-- ARGV[5] channels    the channels of the pods, without the pod
-- ARGV[6] joined      the fence the caller joined before, 0 if none
-- ARGV[7] seen        the highest fence the pod has seen
-- ARGV[8] uncertain   'retry' or 'never': what to do with a token of which nobody knows whether it was rotated
-- ARGV[9] may_lead    'yes', or 'no' when the caller's pod leads nothing at present
-- ARGV[10] queued_us  how long the caller has queued already, '' when it has not
-- ARGV[11] patience   'queue', or 'none' when it waits for a permit no longer
-- ARGV[12] settings   numbers, 8 bytes each, big-endian: in one argument, because each costs as much as a small call
-- SETTING[1] lease_ms      how long a lead lasts unless it is renewed
-- SETTING[2] retry_ms      when the token of a lost leader is presented again, from the start of the lost flight
-- SETTING[3] memory_ms     how long it is remembered that a leader was lost, at least retry_ms
-- SETTING[4] wait_ms       how long a caller waits at most
-- SETTING[5] max_attempts, SETTING[6] window_ms, SETTING[7] cooldown_ms   the limits of the session
-- SETTING[8] limit         how many permits there are
-- SETTING[9] called_ms     how long a permit is kept for a flight that was called from the queue
-- SETTING[10] budget_wait_ms   how long a flight queues
-- SETTING[11] half_open    how many probes may be out
-- SETTING[12] quiet_ms     how long a circuit that does not move is remembered
-- SETTING[13] grace_ms     how long a lost leader may still be heard of, from when a pod first missed it
--
-- Replies
--   {'landed', fence, attempt, age_ms, sealed}    the outcome is there
--   {'lost', fence}                               the token may have been rotated, and is not presented again
--   {'join', fence, claim, leader, look_ms}       a leader lives ('living'), or was lost and may still come back
--                                                 ('lost'); the pod is registered; look again after look_ms
--   {'lead', fence, before}                       the caller leads; before: 'nothing', 'lost_leaders', 'rotated'
--   {'queued', look_ms}                           the caller waits for a permit; look again after look_ms
--   {'rejected', why, retry_after_ms}             another_claim: the token was just rotated for another claim
--                                                 recovering: Redis has forgotten what it held
--                                                 pod: the caller's pod leads nothing
--                                                 circuit_open, cooling_down, limited, budget: the rules
--   {'abandoned'}                                 the attempt was taken back before it arrived
assert(#KEYS == 9 and #ARGV == 12, 'begin: 9 keys, 12 arguments')
local lock, flight, fence, recovering, attempts, permits, in_use_key, queue, circuit_key = unpack(KEYS)
local pod, attempt, claim, name, channels, joined, seen, uncertain, may_lead, queued_us, patience, settings =
  unpack(ARGV)
joined, seen, queued_us = tonumber(joined), tonumber(seen), tonumber(queued_us)
local lease_ms, retry_ms, memory_ms, wait_ms, max_attempts, window_ms, cooldown_ms, limit, called_ms, budget_wait_ms,
  half_open, quiet_ms, grace_ms = struct.unpack('>I8I8I8I8I8I8I8I8I8I8I8I8I8', settings)

local now, time = read_clock()
local session_rules = {max_attempts = max_attempts, window_ms = window_ms, cooldown_ms = cooldown_ms}
local circuit_rules = {half_open = half_open, quiet_ms = quiet_ms, lease_ms = lease_ms}
local budget = {permits = permits, counter = in_use_key, queue = queue, limit = limit, lease_ms = lease_ms,
  called_ms = called_ms, wait_ms = budget_wait_ms, channels = channels, now = now}
-- The caller's place in the queue.
local place = pod .. ' ' .. attempt .. ' ' .. name

-- A flight that queues would have joined, had it come a moment later: what lands meanwhile is for it, however short
-- that is fresh. To present the token once more would be a reuse.
local function landed_while_queued(landed_at)
  return queued_us ~= nil and passed_ms(landed_at, now) * 1000 < queued_us
end

-- The answer to a flight that neither leads nor queues: it queues no longer, and a permit that was kept for it goes to
-- the next.
local function done(reply)
  if queued_us then
    leave_queue(budget, place)
  end
  return reply
end

-- In one call: each costs as much as a small command of its own.
local owner, last, is_recovering, in_use_there = unpack(redis.call('MGET', lock, fence, recovering, in_use_key))
local record = read_hash(flight)
if record['gone:' .. attempt] then
  return done({'abandoned'})
end

-- The same attempt again: its first answer was lost on the way, and its function was never polled.
if record.attempt == attempt then
  if record.state == 'landed' then
    return done({'landed', record.fence, record.attempt, passed_ms(record.landed_at, now), record.sealed})
  end
  if owner == record.owner then
    redis.call('SET', lock, owner, 'PX', lease_ms)
    keep_at_least(flight, lease_ms + memory_ms)
    renew_permit(budget, owner)
    renew_probe(circuit_key, record.fence, now, circuit_rules)
    return {'lead', record.fence, record.before}
  elseif not owner then
    -- Its lease is over, and others were admitted meanwhile: it begins anew.
    uncharge_attempt(attempts, record.charged)
    undo_lead(flight, record, lease_ms)
  end
end
local state = record.state

-- First an outcome for this flight: it costs nobody anything.
local is_fresh = state == 'landed' and left_of(flight, record, 'fresh_until', now, tonumber(record.fresh_ms)) > 0
if state == 'landed' and record.claim == claim then
  -- A success of an older fence than the joined one landed after the joining: it is handed over, too.
  if is_fresh or (joined > 0 and (tonumber(record.fence) >= joined or record.class == 'success'))
    or landed_while_queued(record.landed_at) then
    return done({'landed', record.fence, record.attempt, passed_ms(record.landed_at, now), record.sealed})
  end
end
if record.last_claim == claim and ((joined > 0 and tonumber(record.last_fence) >= joined)
  or landed_while_queued(record.last_landed_at)) then
  -- A newcomer leads already, but this is what was waited for.
  return done({'landed', record.last_fence, record.last_attempt, passed_ms(record.last_landed_at, now),
    record.last_sealed})
end

-- Then the leader, with whatever claim: one presentation at a time. Registered in the same step, so there is no
-- gap between looking and waiting.
if owner then
  redis.call('HSET', flight, 'waits:' .. pod, attempt)
  keep_at_least(flight, wait_ms)
  local left = redis.call('PTTL', lock)
  if left > tonumber(record.lease_ms or left) then
    -- The clock was set back: the lock would outlive a dead leader by as much.
    left = tonumber(record.lease_ms)
    redis.call('PEXPIRE', lock, left)
  end
  return done({'join', fence_of(owner), record.claim or '', 'living', left})
end

if state == 'leading' then
  state = 'lost'
  record.lost = (record.lost or 0) + 1
  -- Where Redis was away for all pods, the leader may be on its way here with its outcome.
  record.again_at = whole(now + grace_ms)
  redis.call('HSET', flight, 'state', state, 'lost', record.lost, 'again_at', record.again_at)
end

local before = 'nothing'
if state == 'lost' then
  local left = 0
  if record.again_at ~= '0' then
    left = math.max(left_of(flight, record, 'again_at', now, grace_ms),
      retry_ms - passed_of(flight, record, 'started', now))
  end
  if left > 0 then
    redis.call('HSET', flight, 'waits:' .. pod, attempt)
    keep_at_least(flight, wait_ms)
    return done({'join', record.fence, record.claim, 'lost', left})
  end
  if uncertain == 'never' then
    return done({'lost', record.fence})
  end
  before = 'lost_leaders'
elseif state == 'landed' then
  if record.token == 'rotated' then
    if is_fresh then
      return done({'rejected', 'another_claim', left_ms(record.fresh_until, now, tonumber(record.fresh_ms))})
    end
    before = 'rotated'
  elseif record.token == 'unknown' and uncertain == 'never' then
    return done({'lost', record.fence})
  elseif (record.token == 'untouched' or record.token == 'unknown') and tonumber(record.lost or '0') > 0 then
    -- The leader that took over learned nothing of the token: what became of it is as uncertain as before.
    before = 'lost_leaders'
  end
end

local recovering_ms
last, recovering_ms = last_fence(fence, recovering, {last, is_recovering}, seen, lease_ms)
if recovering_ms > 0 then
  return done({'rejected', 'recovering', recovering_ms})
end

-- The rules of admission, in the order of src/admission.rs. Nothing is taken before all of them have been asked.
if may_lead == 'no' then
  return done({'rejected', 'pod', 0})
end
-- Mostly none of them is there: one look instead of three.
local is_quiet = redis.call('EXISTS', circuit_key, attempts, queue) == 0
local circuit = is_quiet and {} or read_hash(circuit_key)
local passage, open_ms = admit_by_circuit(circuit_key, circuit, now, circuit_rules)
if not passage then
  return done({'rejected', 'circuit_open', open_ms})
end
local session = is_quiet and {} or read_hash(attempts)
local refusal, refused_ms = admit_by_attempts(attempts, session, now, session_rules)
if refusal then
  return done({'rejected', refusal, refused_ms})
end
local came_us = time[1] * 1000000 + time[2] - (queued_us or 0)
if queued_us then
  came_us = came_at(budget, place, came_us)
end
local is_free, in_use, is_called = claim_place(budget, in_use_there, place, came_us, queued_us, is_quiet)
if not is_free then
  if patience == 'none' then
    return done({'rejected', 'budget', fair_pause_ms})
  end
  return {'queued', queue_for_permit(budget, place, came_us)}
end

-- The lock is taken with NX: were the reasoning above wrong, there still could not be two leaders.
local own_fence, lease_text, started = whole(last + 1), whole(lease_ms), whole(now)
local own = pod .. '/' .. own_fence
if not redis.call('SET', lock, own, 'NX', 'PX', lease_text) then
  return redis.error_reply('BUG begin: the lock was free a moment ago')
end
redis.call('SET', fence, own_fence)
take_permit(budget, own, place, in_use, is_called)
if passage == 'probe' then
  take_probe(circuit_key, circuit, own_fence, now, circuit_rules)
end
local charged = charge_attempt(attempts, session, now, session_rules)
if state == 'landed' then
  if record.class == 'success' and passed_ms(record.landed_at, now) < wait_ms then
    -- A waiting flight that missed the message may still come for it.
    redis.call('HSET', flight, 'last_claim', record.claim, 'last_fence', record.fence, 'last_attempt', record.attempt,
      'last_landed_at', record.landed_at, 'last_sealed', record.sealed)
  end
  redis.call('HDEL', flight, 'class', 'token', 'sealed', 'landed_at', 'fresh_until', 'fresh_ms')
end
redis.call('HSET', flight, 'state', 'leading', 'owner', own, 'attempt', attempt, 'claim', claim, 'fence', own_fence,
  'started', started, 'lease_ms', lease_text, 'before', before,
  'lost', before == 'lost_leaders' and record.lost or '0', 'charged', charged)
redis.call('PEXPIRE', flight, whole(lease_ms + memory_ms))
return {'lead', own_fence, before}
