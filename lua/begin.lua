-- Asks what a flight is to do: take the outcome, join whoever leads, lead, or come again later.
--
-- KEYS[1] lock        string, the owner: who leads
-- KEYS[2] flight      hash, the record
-- KEYS[3] fence       string, the last fence given
-- KEYS[4] recovering  string, stands for one lease after Redis was found to have forgotten
-- ARGV[1] pod         the caller's pod
-- ARGV[2] attempt     the caller's local flight; the same attempt gets the same answer
-- ARGV[3] claim       what must be equal for an answer to be shared
-- ARGV[4] joined      the fence the caller joined before, 0 if none
-- ARGV[5] seen        the highest fence the pod has seen
-- ARGV[6] lease_ms    how long a lead lasts unless it is renewed
-- ARGV[7] retry_ms    when a token whose leader was lost is presented again, from the start of the lost flight
-- ARGV[8] uncertain   'retry' or 'never': what to do with a token of which nobody knows whether it was rotated
-- ARGV[9] memory_ms   how long it is remembered that a leader was lost, at least retry_ms
-- ARGV[10] wait_ms    how long a caller waits at most
--
-- Replies
--   {'landed', fence, attempt, age_ms, sealed}    the outcome is there
--   {'lost', fence}                               the token may have been rotated, and is not presented again
--   {'join', fence, claim, leader, look_ms}       somebody leads ('living'), or was lost and may still come back
--                                                 ('lost'); the pod is registered; look again after look_ms
--   {'lead', fence, before}                       the caller leads; before: 'nothing', 'lost_leaders', 'rotated'
--   {'rejected', 'another_claim', retry_after_ms} the token was just rotated for another claim
--   {'rejected', 'recovering', retry_after_ms}    Redis has forgotten what it held
--   {'abandoned'}                                 the attempt was taken back before it arrived
assert(#KEYS == 4 and #ARGV == 10, 'begin: 4 keys, 10 arguments')
local lock, flight, fence, recovering = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local pod, attempt, claim, joined, seen = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local lease_ms, retry_ms, uncertain = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local memory_ms, wait_ms = tonumber(ARGV[9]), tonumber(ARGV[10])

local now = now_ms()
local owner = redis.call('GET', lock)
local record = read_flight(flight)
local state = record.state

if record['gone:' .. attempt] then
  return {'abandoned'}
end

-- The same attempt again: its first answer was lost on the way, and its function was never polled.
if record.attempt == attempt then
  if state == 'landed' then
    return {'landed', record.fence, record.attempt, passed_ms(record.landed_at, now), record.sealed}
  end
  if not owner or owner == record.owner then
    redis.call('SET', lock, record.owner, 'PX', lease_ms)
    keep_at_least(flight, lease_ms + memory_ms)
    if state == 'lost' then
      redis.call('HSET', flight, 'state', 'leading', 'lost', record.lost - 1)
    end
    return {'lead', record.fence, record.before}
  end
end

-- First an outcome for me: it costs nobody anything.
local is_fresh = state == 'landed' and left_ms(record.fresh_until, now, tonumber(record.fresh_ms)) > 0
if state == 'landed' and record.claim == claim then
  -- A success of an older fence than the one that was joined came late, after the joining: it is for who waits, too.
  if is_fresh or (joined > 0 and (tonumber(record.fence) >= joined or record.class == 'success')) then
    return {'landed', record.fence, record.attempt, passed_ms(record.landed_at, now), record.sealed}
  end
end
if joined > 0 and record.last_claim == claim and tonumber(record.last_fence) >= joined then
  -- A newcomer leads already, but this is what was waited for.
  return {'landed', record.last_fence, record.last_attempt, passed_ms(record.last_landed_at, now), record.last_sealed}
end

-- Then whoever leads, with whatever claim: one presentation at a time. Registered in the same step, so there is no
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
  return {'join', fence_of(owner), record.claim or '', 'living', left}
end

if state == 'leading' then
  state = 'lost'
  record.lost = (record.lost or 0) + 1
  redis.call('HSET', flight, 'state', state, 'lost', record.lost)
end

local before = 'nothing'
if state == 'lost' then
  local left = left_ms(record.started + retry_ms, now, retry_ms)
  if left > 0 then
    redis.call('HSET', flight, 'waits:' .. pod, attempt)
    keep_at_least(flight, wait_ms)
    return {'join', record.fence, record.claim, 'lost', left}
  end
  if uncertain == 'never' then
    return {'lost', record.fence}
  end
  before = 'lost_leaders'
elseif state == 'landed' then
  if record.token == 'rotated' then
    if is_fresh then
      return {'rejected', 'another_claim', left_ms(record.fresh_until, now, tonumber(record.fresh_ms))}
    end
    before = 'rotated'
  elseif record.token == 'unknown' and uncertain == 'never' then
    return {'lost', record.fence}
  elseif record.token == 'untouched' and tonumber(record.lost or '0') > 0 then
    -- Whoever took over asked nothing of the token: what became of it is as uncertain as before.
    before = 'lost_leaders'
  end
end

local last, recovering_ms = last_fence(fence, recovering, seen, lease_ms)
if recovering_ms > 0 then
  return {'rejected', 'recovering', recovering_ms}
end

-- The rules of admission stand here, between what costs nothing and the lead.

-- Every lock is taken with NX: where the reasoning above were wrong, two leaders still could not be.
local led = string.format('%.0f', last + 1)
owner = pod .. '/' .. led
if not redis.call('SET', lock, owner, 'NX', 'PX', lease_ms) then
  return redis.error_reply('BUG begin: the lock was free a moment ago')
end
redis.call('SET', fence, led)
if state == 'landed' then
  if record.class == 'success' and passed_ms(record.landed_at, now) < wait_ms then
    -- Somebody whose message was lost may still come for it.
    redis.call('HSET', flight, 'last_claim', record.claim, 'last_fence', record.fence, 'last_attempt', record.attempt,
      'last_landed_at', record.landed_at, 'last_sealed', record.sealed)
  end
  redis.call('HDEL', flight, 'class', 'token', 'sealed', 'landed_at', 'fresh_until', 'fresh_ms')
end
redis.call('HSET', flight, 'state', 'leading', 'owner', owner, 'attempt', attempt, 'claim', claim, 'fence', led,
  'started', now, 'lease_ms', lease_ms, 'before', before, 'lost', before == 'lost_leaders' and record.lost or 0)
redis.call('PEXPIRE', flight, lease_ms + memory_ms)
return {'lead', led, before}
